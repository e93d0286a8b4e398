//! Values over a stream: their length in four bytes, then postcard.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Error, ErrorKind, Read, Result, Write};

/// No message is longer.
const MOST: usize = 1 << 20;

pub fn write(to: &mut impl Write, value: &impl Serialize) -> Result<()> {
    let bytes = postcard::to_stdvec(value).map_err(Error::other)?;
    let mut all = (bytes.len() as u32).to_le_bytes().to_vec();
    all.extend(bytes);
    to.write_all(&all)
}

pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MOST {
        return Err(Error::new(ErrorKind::InvalidData, "a message is too long"));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(|e| Error::new(ErrorKind::InvalidData, e))
}

#[cfg(test)]
mod tests {
    use super::super::Said;
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_an_error() {
        let said = Said::Hello { token: 7, rank: 3 };
        let mut bytes = vec![];
        write(&mut bytes, &said).unwrap();
        assert_eq!(read::<Said>(&mut &bytes[..]).unwrap(), said);
        assert!(read::<Said>(&mut &bytes[..bytes.len() - 1]).is_err());
        assert!(read::<Said>(&mut &[255u8; 8][..]).is_err());
    }
}
