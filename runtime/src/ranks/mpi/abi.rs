//! What the MPI libraries disagree on: the values of handles and constants. A handle is taken for a `usize` in all of them: one
//! that is an `int` (MPICH) passes through a register unharmed, and comes back through a pointer to a zeroed `usize`.

use libloading::os::unix::Library;
use std::ffi::{c_char, c_int};

/// Values of one library's handles and constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abi {
    pub world: usize,
    pub info_null: usize,
    pub byte: usize,
    pub float: usize,
    pub errors_return: usize,
    pub in_place: usize,
    pub status_ignore: usize,
    pub funneled: c_int,
    pub shared: c_int,
    /// Bytes that the text of the library's version may have.
    pub version_text: usize,
}

/// Bytes that the text of an error may have, at most.
pub const ERROR_TEXT: usize = 1024;

const MPICH: Abi = Abi {
    world: 0x4400_0000,
    info_null: 0x1c00_0000,
    byte: 0x4c00_010d,
    float: 0x4c00_040a,
    errors_return: 0x5400_0001,
    in_place: usize::MAX,
    status_ignore: 1,
    funneled: 1,
    shared: 1,
    version_text: 8192,
};

/// MPI 5's standard.
const STANDARD: Abi = Abi {
    world: 0x101,
    info_null: 0x130,
    byte: 0x247,
    float: 0x210,
    errors_return: 0x143,
    in_place: 1,
    status_ignore: 0,
    funneled: 1024,
    shared: 221,
    version_text: 8192,
};

type GetVersion = unsafe extern "C" fn(*mut c_char, *mut c_int) -> c_int;
type AbiVersion = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;

impl Abi {
    /// Which one a library has, by what it exports and says of itself, or in words why that cannot be told.
    pub fn of(library: &Library) -> Result<Abi, String> {
        if standard(library) {
            return Ok(STANDARD);
        }
        if let Some(abi) = open_mpi(library) {
            return Ok(abi);
        }
        let text = version(library, MPICH.version_text)?;
        let family = ["MPICH", "Intel(R) MPI", "CRAY", "MVAPICH", "ParaStation"];
        match family.iter().any(|name| text.contains(name)) {
            true => Ok(MPICH),
            false => Err(format!("it is of no known kind; it says `{}`", first_line(&text))),
        }
    }
}

pub fn first_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .trim()
        .chars()
        .take(80)
        .collect()
}

fn standard(library: &Library) -> bool {
    // SAFETY: a function of this name has this signature since MPI 5.
    unsafe {
        let Ok(ask) = library.get::<AbiVersion>(b"MPI_Abi_get_version\0") else {
            return false;
        };
        let (mut major, mut minor) = (0, 0);
        ask(&mut major, &mut minor) == 0 && major >= 1
    }
}

/// Open MPI's handles are addresses of its own variables.
fn open_mpi(library: &Library) -> Option<Abi> {
    let address = |name: &[u8]| {
        // SAFETY: only the address of the variable is taken.
        let found = unsafe { library.get::<*mut u8>(name) };
        found.ok().map(|symbol| *symbol as usize)
    };
    Some(Abi {
        world: address(b"ompi_mpi_comm_world\0")?,
        info_null: address(b"ompi_mpi_info_null\0")?,
        byte: address(b"ompi_mpi_byte\0")?,
        float: address(b"ompi_mpi_float\0")?,
        errors_return: address(b"ompi_mpi_errors_return\0")?,
        in_place: 1,
        status_ignore: 0,
        funneled: 1,
        shared: 0,
        version_text: 256,
    })
}

/// What a library calls itself; this may be asked before it is initialised.
pub fn version(library: &Library, room: usize) -> Result<String, String> {
    let mut text = vec![0u8; room.max(8192) + 1];
    let mut length = 0;
    // SAFETY: MPI 3 and later have this function; the room is more than any of them writes.
    let code = unsafe {
        let ask = library
            .get::<GetVersion>(b"MPI_Get_library_version\0")
            .map_err(|_| "it has no MPI_Get_library_version and so is no MPI library".to_string())?;
        ask(text.as_mut_ptr().cast(), &mut length)
    };
    match code {
        0 => Ok(String::from_utf8_lossy(&text[..(length.max(0) as usize).min(room)])
            .trim_end_matches('\0')
            .to_string()),
        code => Err(format!("MPI_Get_library_version fails with {code}")),
    }
}
