//! Object files to one flat, position-independent image.
//!
//! Code and read-only data of all objects are laid out one after the other, and PC-relative references between them are
//! filled in. Nothing else is accepted: a reference to a library function or an absolute address is an error, so that
//! the image runs wherever it is mapped.

use crate::Error;
use ir::artifact::ALIGN;
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget, SectionIndex, SectionKind};
use std::collections::HashMap;

/// A linked image.
pub struct Image {
    pub bytes: Vec<u8>,
    functions: HashMap<String, usize>,
}

impl Image {
    /// Offset of a function in the image.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn function(&self, name: &str) -> Result<usize, Error> {
        self.functions
            .get(name)
            .copied()
            .ok_or_else(|| Error::Link(format!("no function `{name}`")))
    }
}

fn bad(what: impl std::fmt::Display) -> Error {
    Error::Link(what.to_string())
}

/// Links x86-64 ELF objects.
///
/// # Errors
/// On references outside of the image, absolute addresses, writable data and malformed objects.
pub fn flatten<'a>(objects: impl Iterator<Item = &'a [u8]>) -> Result<Image, Error> {
    let files: Vec<ElfFile64> = objects
        .map(|o| ElfFile64::parse(o).map_err(bad))
        .collect::<Result<_, _>>()?;
    let mut bytes = vec![];
    let mut sections: HashMap<(usize, SectionIndex), usize> = HashMap::new();
    // Code first, so that data does not sit between functions.
    for wanted in [true, false] {
        for (f, file) in files.iter().enumerate() {
            for s in file.sections() {
                let name = s.name().map_err(bad)?;
                let (text, data) = match s.kind() {
                    SectionKind::Text => (true, false),
                    SectionKind::ReadOnlyData | SectionKind::ReadOnlyString | SectionKind::ReadOnlyDataWithRel => {
                        (false, !name.starts_with(".eh_frame"))
                    }
                    SectionKind::Data | SectionKind::UninitializedData if s.size() > 0 => {
                        return Err(bad(format!("writable data in section {name}")));
                    }
                    _ => (false, false),
                };
                if s.size() == 0 || !(if wanted { text } else { data }) {
                    continue;
                }
                let align = s.align() as usize;
                if align > ALIGN {
                    return Err(bad(format!("section {name} asks for an alignment of {align}")));
                }
                bytes.resize(usize::next_multiple_of(bytes.len(), align.max(1)), 0xcc);
                sections.insert((f, s.index()), bytes.len());
                bytes.extend_from_slice(s.data().map_err(bad)?);
            }
        }
    }
    let mut functions = HashMap::new();
    for (f, file) in files.iter().enumerate() {
        for s in file.symbols().filter(|s| s.is_definition() && s.is_global()) {
            let base = s.section_index().and_then(|i| sections.get(&(f, i)));
            let base = base.ok_or_else(|| bad(format!("symbol {:?} outside of code and data", s.name())))?;
            let name = s.name().map_err(bad)?.to_string();
            let at = base + s.address() as usize;
            if functions.insert(name.clone(), at).is_some() {
                return Err(bad(format!("`{name}` is defined twice")));
            }
        }
    }
    for (f, file) in files.iter().enumerate() {
        for s in file.sections() {
            if let Some(&base) = sections.get(&(f, s.index())) {
                relocate(&mut bytes, base, f, file, &s, &sections, &functions)?;
            }
        }
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0xcc);
    Ok(Image { bytes, functions })
}

fn relocate<'d>(
    bytes: &mut [u8],
    base: usize,
    f: usize,
    file: &ElfFile64<'d>,
    section: &impl ObjectSection<'d>,
    sections: &HashMap<(usize, SectionIndex), usize>,
    functions: &HashMap<String, usize>,
) -> Result<(), Error> {
    for (offset, r) in section.relocations() {
        let RelocationTarget::Symbol(symbol) = r.target() else {
            return Err(bad("a relocation without a symbol"));
        };
        let symbol = file.symbol_by_index(symbol).map_err(bad)?;
        let name = symbol.name().unwrap_or("?");
        let local = symbol
            .section_index()
            .and_then(|i| sections.get(&(f, i)))
            .map(|b| b + symbol.address() as usize);
        let Some(target) = local.or_else(|| functions.get(name).copied()) else {
            return Err(bad(format!("it refers to `{name}`, which is not part of it")));
        };
        if !matches!(r.kind(), RelocationKind::Relative | RelocationKind::PltRelative) {
            return Err(bad(format!("a relocation of kind {:?} to `{name}`", r.kind())));
        }
        let at = base + offset as usize;
        let value = target as i64 + r.addend() - at as i64;
        match r.size() {
            32 => {
                let v = i32::try_from(value).map_err(|_| bad("it is larger than 2 GiB"))?;
                bytes[at..at + 4].copy_from_slice(&v.to_le_bytes());
            }
            64 => bytes[at..at + 8].copy_from_slice(&value.to_le_bytes()),
            bits => return Err(bad(format!("a relocation of {bits} bits to `{name}`"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;
    use inkwell::context::Context;
    use inkwell::memory_buffer::MemoryBuffer;
    use inkwell::targets::FileType;

    /// The object file of LLVM IR.
    fn object(ir: &str) -> Vec<u8> {
        let ctx = Context::create();
        let text = MemoryBuffer::create_from_memory_range_copy(format!("{ir}\0").as_bytes(), "test");
        let module = ctx.create_module_from_ir(text).expect("valid IR");
        let machine = Target::parse("x86-64-v3")
            .and_then(|t| t.machine())
            .expect("LLVM knows x86-64");
        module.set_triple(&machine.get_triple());
        machine
            .write_to_memory_buffer(&module, FileType::Object)
            .expect("an object")
            .as_slice()
            .to_vec()
    }

    fn error(ir: &str) -> String {
        flatten([object(ir).as_slice()].into_iter())
            .err()
            .expect("it cannot stand alone")
            .to_string()
    }

    #[test]
    fn images_stand_alone() {
        let calls = error(
            "declare float @expf(float) define float @f(float %x) { %y = call float @expf(float %x) ret float %y }",
        );
        assert_eq!(calls, "generated code: it refers to `expf`, which is not part of it");
        let writes = error("@g = global i32 3 define void @f() { store i32 4, ptr @g ret void }");
        assert!(writes.contains("writable data"), "{writes}");
    }

    /// A function of one object calls one of another, and reads a constant.
    #[test]
    fn objects_are_joined() {
        let f = object(
            "declare i64 @g(i64) define i64 @f(i64 %x) { %y = call i64 @g(i64 %x) %z = add i64 %y, 1 ret i64 %z }",
        );
        let g = object(
            "@t = private constant [3 x i64] [i64 7, i64 8, i64 9] define i64 @g(i64 %i) {
               %p = getelementptr i64, ptr @t, i64 %i %v = load i64, ptr %p ret i64 %v }",
        );
        let image = flatten([f.as_slice(), g.as_slice()].into_iter()).expect("it links");
        let mut map = memmap2::MmapMut::map_anon(image.bytes.len()).expect("memory");
        map.copy_from_slice(&image.bytes);
        let map = map.make_exec().expect("executable memory");
        // SAFETY: `f` takes and gives an i64 and reads nothing but the image.
        let f: extern "C" fn(i64) -> i64 =
            unsafe { std::mem::transmute(map.as_ptr().add(image.function("f").expect("it is there"))) };
        assert_eq!([f(0), f(1), f(2)], [8, 9, 10]);
    }
}
