//! The protocol between the compiler and the process that generates GPU code: jobs one way, replies the other, each as
//! a length (u32, little-endian) and that many bytes of postcard. Both begin with a greeting that names the format.

use crate::artifact::PtxKernel;
use crate::kernel::Kernel;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{Error, ErrorKind, Read, Write};

/// A kernel to compile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Function names begin with it.
    pub symbol: String,
    pub kernel: Kernel,
    /// Per slot: bytes that every address it is bound to is a multiple of.
    pub alignment: Vec<u32>,
    pub archs: Vec<String>,
}

/// A kernel compiled for one architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// The MLIR text as it was built.
    pub mlir: String,
    pub ptx: PtxKernel,
}

/// The answer to a job: the kernel for every architecture of the job, or why there is none.
pub type Reply = Result<Vec<Generated>, String>;

/// What both sides say first: the last bytes are the number of the messages' format, and a line with the version follows.
const HELLO: &[u8; 12] = b"W2VC-GEN-003";
/// Bytes of that line at most.
const LINE: usize = 64;
/// Bytes of a message at most.
const MOST: u64 = 1 << 30;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// # Errors
/// Where the other side is gone.
pub fn greet(to: &mut impl Write) -> Result<(), Error> {
    to.write_all(HELLO)?;
    to.write_all(format!(" {VERSION}\n").as_bytes())?;
    to.flush()
}

/// Reads the other side's greeting.
///
/// # Errors
/// `InvalidData` where it says something else, and where it is gone.
pub fn greeted(from: &mut impl Read) -> Result<(), Error> {
    let mut hello = [0; HELLO.len()];
    from.read_exact(&mut hello)?;
    let other = |what: String| Err(Error::new(ErrorKind::InvalidData, what));
    let (own, said) = (String::from_utf8_lossy(HELLO), String::from_utf8_lossy(&hello));
    if hello != *HELLO {
        return other(format!("it says {said:?} and not {own:?}"));
    }
    let (mut line, mut byte) = (String::new(), [0]);
    // Byte by byte: what follows the line is the first message.
    while line.len() < LINE && !line.ends_with('\n') {
        from.read_exact(&mut byte)?;
        line.push(char::from(byte[0]));
    }
    match line.trim() {
        VERSION => Ok(()),
        version => other(format!("it is of version {version:?}, and this is version {VERSION:?}")),
    }
}

/// # Errors
/// Where the other side is gone.
pub fn send<T: Serialize>(to: &mut impl Write, message: &T) -> Result<(), Error> {
    let bytes = postcard::to_stdvec(message).map_err(|e| Error::new(ErrorKind::InvalidData, e))?;
    to.write_all(&(bytes.len() as u32).to_le_bytes())?;
    to.write_all(&bytes)?;
    to.flush()
}

/// The next message; `None` where the other side has closed.
///
/// # Errors
/// Where it ends within a message, or sends something else.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>, Error> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        r => r?,
    }
    let length = u64::from(u32::from_le_bytes(length));
    if length > MOST {
        return Err(Error::new(
            ErrorKind::InvalidData,
            format!("a message of {length} bytes"),
        ));
    }
    // As much memory as there are bytes, whatever the length says.
    let mut bytes = vec![];
    if from.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    postcard::from_bytes(&bytes)
        .map(Some)
        .map_err(|e| Error::new(ErrorKind::InvalidData, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_whole_or_refused() {
        let mut wire = vec![];
        greet(&mut wire).unwrap();
        send(&mut wire, &Err::<Vec<Generated>, String>("no".into())).unwrap();
        let mut from = &wire[..];
        greeted(&mut from).unwrap();
        assert_eq!(receive::<Reply>(&mut from).unwrap(), Some(Err("no".into())));
        assert!(receive::<Reply>(&mut from).unwrap().is_none());
        // Of another version, cut short, and of a length that nobody sends.
        for other in [
            "W2VC-GEN-001",
            "W2VC-GEN-003 0.0.1\n",
            &format!("W2VC-GEN-003 {}", "9".repeat(100)),
        ] {
            let error = greeted(&mut other.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        }
        assert_eq!(greeted(&mut &b"W2VC"[..]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let begin = wire.iter().position(|b| *b == b'\n').unwrap() + 1;
        let cut = receive::<Reply>(&mut &wire[begin..wire.len() - 1]).unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
        let endless = receive::<Reply>(&mut &[0xff; 8][..]).unwrap_err();
        assert_eq!(endless.kind(), ErrorKind::InvalidData);
    }
}
