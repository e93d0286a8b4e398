//! The calls of the CUDA driver that are made, each with an error that names it.

use super::super::arch::Version;
use super::super::map::MapArgument;
use crate::error::Error;
use cudarc::driver::{DriverError, result, sys};
use std::ffi::{CString, c_void};

pub use sys::{CUcontext, CUdevice, CUfunction, CUgraphExec, CUstream, CUtensorMap};

pub fn failed(call: impl Into<String>, e: DriverError) -> Error {
    let text =
        |t: Result<&std::ffi::CStr, DriverError>| t.map_or("unknown".into(), |t| t.to_string_lossy().into_owned());
    Error::Device {
        call: call.into(),
        what: format!("{} ({})", text(e.error_string()), text(e.error_name())),
    }
}

fn check<T>(call: &'static str, result: Result<T, DriverError>) -> Result<T, Error> {
    result.map_err(|e| failed(call, e))
}

/// Whether the driver's library can be loaded; nothing else here may be called where not.
pub fn is_present() -> bool {
    // SAFETY: loading the driver's library runs its initialisers, which is what a user of a GPU wants.
    unsafe { sys::is_culib_present() }
}

/// The newest CUDA that the driver supports.
pub fn version() -> Result<Version, Error> {
    let mut version = 0;
    // SAFETY: the pointer is to a live integer.
    check(
        "cuDriverGetVersion",
        unsafe { sys::cuDriverGetVersion(&mut version) }.result(),
    )?;
    Ok((version as u32 / 1000, version as u32 % 1000 / 10))
}

pub fn init() -> Result<(), DriverError> {
    result::init()
}

pub fn device_count() -> Result<usize, Error> {
    check("cuDeviceGetCount", result::device::get_count()).map(|n| n.max(0) as usize)
}

pub fn device(ordinal: usize) -> Result<CUdevice, Error> {
    check("cuDeviceGet", result::device::get(ordinal as i32))
}

pub fn device_name(device: CUdevice) -> Result<String, Error> {
    check("cuDeviceGetName", result::device::get_name(device))
}

/// What tells a GPU from all others, also those of other machines.
pub fn uuid(device: CUdevice) -> Result<String, Error> {
    let uuid = check("cuDeviceGetUuid", result::device::get_uuid(device))?;
    Ok(uuid.bytes.iter().map(|b| format!("{:02x}", *b as u8)).collect())
}

pub fn capability(device: CUdevice) -> Result<Version, Error> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    // SAFETY: the device came from `device`.
    let get = |what| unsafe { result::device::get_attribute(device, what) };
    let major = check("cuDeviceGetAttribute", get(MAJOR))?;
    let minor = check("cuDeviceGetAttribute", get(MINOR))?;
    Ok((major as u32, minor as u32))
}

/// Bytes of shared memory that a block may have, if it asks.
pub fn shared_limit(device: CUdevice) -> Result<u32, Error> {
    let what = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
    // SAFETY: the device came from `device`.
    let bytes = check("cuDeviceGetAttribute", unsafe {
        result::device::get_attribute(device, what)
    })?;
    Ok(bytes.max(0) as u32)
}

pub fn retain(device: CUdevice) -> Result<CUcontext, Error> {
    // SAFETY: the device came from `device`; `release` is called once, when the owner is dropped.
    check("cuDevicePrimaryCtxRetain", unsafe {
        result::primary_ctx::retain(device)
    })
}

pub fn release(device: CUdevice) {
    // SAFETY: pairs with `retain`. A failure while giving up leaves nothing to be done.
    unsafe { result::primary_ctx::release(device) }.ok();
}

/// Makes the context that of the calling thread.
pub fn enter(context: CUcontext) -> Result<(), Error> {
    // SAFETY: the context is retained as long as its owner lives.
    check("cuCtxSetCurrent", unsafe { result::ctx::set_current(context) })
}

/// Free and all bytes of the device.
pub fn memory() -> Result<(usize, usize), Error> {
    check("cuMemGetInfo", result::mem_get_info())
}

pub fn alloc(bytes: usize) -> Result<u64, Error> {
    // SAFETY: plain memory, only ever used through copies and kernels that are given its address.
    check("cuMemAlloc", unsafe { result::malloc_sync(bytes) })
}

/// The address must come from `alloc`, and nothing may use it any more.
pub fn free(address: u64) -> Result<(), Error> {
    // SAFETY: the session frees each address once, after synchronising.
    check("cuMemFree", unsafe { result::free_sync(address) })
}

pub fn zero(at: u64, bytes: usize, stream: CUstream) -> Result<(), Error> {
    // SAFETY: the session owns `bytes` at `at`; the stream lives as long as the device.
    check("cuMemsetD8Async", unsafe {
        result::memset_d8_async(at, 0, bytes, stream)
    })
}

/// `from` must stay as it is until the stream has done the copy.
pub fn copy_to_device(to: u64, from: &[u8], stream: CUstream) -> Result<(), Error> {
    // SAFETY: the session owns that much memory at `to`; callers wait before they let go of `from`.
    check("cuMemcpyHtoDAsync", unsafe {
        result::memcpy_htod_async(to, from, stream)
    })
}

/// `to` is filled once the stream has been waited for.
pub fn copy_to_host(to: &mut [u8], from: u64, stream: CUstream) -> Result<(), Error> {
    // SAFETY: the session owns that much memory at `from`; the caller waits before it reads `to`.
    check("cuMemcpyDtoHAsync", unsafe {
        result::memcpy_dtoh_async(to, from, stream)
    })
}

/// A stream that waits for no other.
pub fn new_stream() -> Result<CUstream, Error> {
    check(
        "cuStreamCreate",
        result::stream::create(result::stream::StreamKind::NonBlocking),
    )
}

pub fn wait_for_stream(stream: CUstream) -> Result<(), Error> {
    // SAFETY: the stream lives as long as the device.
    check("cuStreamSynchronize", unsafe { result::stream::synchronize(stream) })
}

pub fn end_stream(stream: CUstream) {
    // SAFETY: called once per stream, by the device's drop. A failure while giving up leaves nothing to be done.
    unsafe { result::stream::destroy(stream) }.ok();
}

/// A point in a stream's work.
pub struct Event(sys::CUevent);

impl Event {
    pub fn new() -> Result<Event, Error> {
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
        check("cuEventCreate", event).map(Event)
    }
    /// One that notes the time at which it is reached.
    pub fn with_time() -> Result<Event, Error> {
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT);
        check("cuEventCreate", event).map(Event)
    }
    /// Seconds from another event to this one; both with time, and reached.
    pub fn seconds_since(&self, start: &Event) -> Result<f64, Error> {
        // SAFETY: both events live.
        let milliseconds = unsafe { result::event::elapsed(start.0, self.0) };
        check("cuEventElapsedTime", milliseconds).map(|ms| ms as f64 / 1e3)
    }
    pub fn record(&self, stream: CUstream) -> Result<(), Error> {
        // SAFETY: event and stream live.
        check("cuEventRecord", unsafe { result::event::record(self.0, stream) })
    }
    /// Returns when the work before the last `record` is done; at once where there was none.
    pub fn wait(&self) -> Result<(), Error> {
        // SAFETY: the event lives.
        check("cuEventSynchronize", unsafe { result::event::synchronize(self.0) })
    }
    /// What the stream is given from now on waits for the work before the last `record`.
    pub fn hold(&self, stream: CUstream) -> Result<(), Error> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: event and stream live.
        check("cuStreamWaitEvent", unsafe {
            result::stream::wait_event(stream, self.0, flags)
        })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: destroyed once. A failure while giving up leaves nothing to be done.
        unsafe { result::event::destroy(self.0) }.ok();
    }
}

/// Host memory that the device copies from directly.
pub struct Pinned {
    start: *mut u8,
    bytes: usize,
}

impl Pinned {
    pub fn new(bytes: usize) -> Result<Pinned, Error> {
        // SAFETY: freed once, by drop.
        let start = check("cuMemHostAlloc", unsafe { result::malloc_host(bytes, 0) })?;
        // SAFETY: `bytes` were just allocated there. Written once, so that the slice below is of initialised bytes.
        unsafe { start.cast::<u8>().write_bytes(0, bytes) };
        Ok(Pinned {
            start: start.cast(),
            bytes,
        })
    }
    pub fn len(&self) -> usize {
        self.bytes
    }
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the allocation is of this size, initialised, and borrowed through self alone.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`. A failure while giving up leaves nothing to be done.
        unsafe { result::free_host(self.start.cast()) }.ok();
    }
}

/// PTX text made into code for the current device; the driver keeps it for the next process.
pub struct Module(usize);

/// Bytes for what the driver's compiler has to say.
const LOG: usize = 8192;

impl Module {
    pub fn load(name: &str, ptx: &str) -> Result<Module, Error> {
        use sys::CUjit_option::{CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
        let call = || format!("cuModuleLoadDataEx of kernel `{name}`");
        let text = CString::new(ptx).map_err(|e| Error::Device {
            call: call(),
            what: e.to_string(),
        })?;
        let mut log = vec![0u8; LOG];
        let mut options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), std::ptr::without_provenance_mut(LOG)];
        let mut module = std::ptr::null_mut();
        // SAFETY: the text ends with a zero; options and values are two each, and the log has the size said.
        let loaded = unsafe {
            sys::cuModuleLoadDataEx(
                &mut module,
                text.as_ptr().cast(),
                2,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        loaded.result().map_err(|e| {
            let said = String::from_utf8_lossy(&log);
            let said = said.trim_end_matches('\0').trim();
            match failed(call(), e) {
                Error::Device { call, what } if !said.is_empty() => Error::Device {
                    call,
                    what: format!("{what}: {said}"),
                },
                other => other,
            }
        })?;
        Ok(Module(module as usize))
    }

    /// A function of the module, allowed the dynamic shared memory it needs.
    pub fn function(&self, name: &str, shared: u32) -> Result<CUfunction, Error> {
        let text = CString::new(name).unwrap_or_default();
        // SAFETY: the module was loaded and is never unloaded while its device lives.
        let function = unsafe { result::module::get_function(self.0 as sys::CUmodule, text) };
        let function = function.map_err(|e| failed(format!("cuModuleGetFunction `{name}`"), e))?;
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        if shared > UNASKED_SHARED {
            // SAFETY: the function was just found.
            let set = unsafe { result::function::set_function_attribute(function, attribute, shared as i32) };
            set.map_err(|e| {
                failed(
                    format!("cuFuncSetAttribute: {shared} bytes of shared memory for `{name}`"),
                    e,
                )
            })?;
        }
        Ok(function)
    }

    pub fn unload(self) {
        // SAFETY: called once, by the device's drop. A failure while giving up leaves nothing to be done.
        unsafe { result::module::unload(self.0 as sys::CUmodule) }.ok();
    }
}

/// Bytes of shared memory a block may have without asking.
const UNASKED_SHARED: u32 = 48 << 10;

/// Shape of a launch: blocks, threads, bytes of dynamic shared memory.
pub type Shape = ([u32; 3], u32, u32);

pub fn launch(
    function: CUfunction,
    (blocks, threads, shared): Shape,
    (params, maps): (&[u64], &[CUtensorMap]),
    stream: CUstream,
) -> Result<(), DriverError> {
    let params = params.iter().map(|p| std::ptr::from_ref(p).cast_mut().cast());
    let maps = maps.iter().map(|m| std::ptr::from_ref(m).cast_mut().cast());
    let mut pointers: Vec<*mut c_void> = params.chain(maps).collect();
    let [x, y, z] = blocks;
    // SAFETY: the compiler gave the function as many 8-byte parameters as `params` has and then as many tensor maps as
    // `maps` has, which the driver copies during the call; what they point to was planned for this launch and lives as
    // long as the session.
    unsafe { result::launch_kernel(function, (x, y, z), (threads, 1, 1), shared, stream, &mut pointers) }
}

/// A tensor map as the parameter of a kernel: 128-byte swizzle, zeros out of bounds.
pub fn encode(map: &MapArgument) -> Result<CUtensorMap, DriverError> {
    use sys::{
        CUresult::CUDA_ERROR_INVALID_VALUE, CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 as BF16,
        CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE as ZEROS,
        CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE as PLAIN,
        CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B as L2,
        CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B as SWIZZLE,
    };
    let rank = map.extents.len();
    // What the call reads has these lengths.
    if rank == 0 || map.strides.len() + 1 != rank || map.tile.len() != rank || map.bytes_per_element != 2 {
        return Err(DriverError(CUDA_ERROR_INVALID_VALUE));
    }
    let steps = vec![1; rank];
    let mut encoded = CUtensorMap { opaque: [0; 16] };
    let at = std::ptr::with_exposed_provenance_mut(map.address as usize);
    // SAFETY: extents, tile and steps have `rank` elements, strides one less, as was checked; the address is not read.
    let result = unsafe {
        sys::cuTensorMapEncodeTiled(
            &mut encoded,
            BF16,
            rank as u32,
            at,
            map.extents.as_ptr(),
            map.strides.as_ptr(),
            map.tile.as_ptr(),
            steps.as_ptr(),
            PLAIN,
            SWIZZLE,
            L2,
            ZEROS,
        )
    };
    result.result().map(|()| encoded)
}

/// Launches given to `stream` between this and `end_record` are recorded instead of done.
pub fn begin_record(stream: CUstream) -> Result<(), Error> {
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    // SAFETY: the stream lives.
    check("cuStreamBeginCapture", unsafe {
        result::stream::begin_capture(stream, mode)
    })
}

pub fn end_record(stream: CUstream) -> Result<CUgraphExec, Error> {
    // SAFETY: `begin_record` was called on the stream.
    let graph = check("cuStreamEndCapture", unsafe { result::stream::end_capture(stream) })?;
    // SAFETY: the graph was just made; it is not needed any more once instantiated.
    let instance = unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) };
    // SAFETY: as above, destroyed once.
    unsafe { result::graph::destroy(graph) }.ok();
    check("cuGraphInstantiate", instance)
}

pub fn replay(graph: CUgraphExec, stream: CUstream) -> Result<(), Error> {
    // SAFETY: the graph was instantiated and is not forgotten.
    check("cuGraphLaunch", unsafe { result::graph::launch(graph, stream) })
}

pub fn forget(graph: CUgraphExec) {
    // SAFETY: destroyed once. A failure while giving up leaves nothing to be done.
    unsafe { result::graph::exec_destroy(graph) }.ok();
}
