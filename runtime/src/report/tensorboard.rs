//! Event files that TensorBoard reads: TFRecords of `Event` messages, with scalars alone.

use super::read::{Point, RunLog};

/// A message in protobuf's wire format.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }

    /// A field's number and how it is written: 0 varint, 1 eight bytes, 2 with its length, 5 four bytes.
    fn tag(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    fn double(mut self, field: u64, v: f64) -> Message {
        self.tag(field, 1);
        self.0.extend(v.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, v: f32) -> Message {
        self.tag(field, 5);
        self.0.extend(v.to_le_bytes());
        self
    }

    fn integer(mut self, field: u64, v: u64) -> Message {
        self.tag(field, 0);
        self.varint(v);
        self
    }

    fn bytes(mut self, field: u64, v: &[u8]) -> Message {
        self.tag(field, 2);
        self.varint(v.len() as u64);
        self.0.extend(v);
        self
    }
}

fn masked(bytes: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn record(out: &mut Vec<u8>, message: &Message) {
    let length = (message.0.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length));
    out.extend(&message.0);
    out.extend(masked(&message.0));
}

/// Event: wall_time = 1, step = 2, summary = 5; Summary: value = 1; Value: tag = 1, simple_value = 2.
fn scalar(name: &str, p: &Point) -> Message {
    let value = Message::default().bytes(1, name.as_bytes()).float(2, p.value as f32);
    let summary = Message::default().bytes(1, &value.0);
    Message::default()
        .double(1, p.time)
        .integer(2, p.update)
        .bytes(5, &summary.0)
}

/// The event file of one kind of lines (`train`, `valid`) of a run: every number under its name.
pub fn events(run: &RunLog, kind: &str) -> Vec<u8> {
    let own = || run.series.iter().filter(|((k, _), _)| k == kind);
    let first = own()
        .filter_map(|(_, points)| points.first())
        .map(|p| p.time)
        .fold(f64::INFINITY, f64::min);
    let first = if first.is_finite() { first } else { 0.0 };
    let mut out = vec![];
    record(
        &mut out,
        &Message::default().double(1, first).bytes(3, b"brain.Event:2"),
    );
    for ((_, name), points) in own() {
        points.iter().for_each(|p| record(&mut out, &scalar(name, p)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 3720 and of TFRecord's mask; a record as tensorflow's own writer makes it.
    #[test]
    fn checksums_and_messages_are_those_of_the_format() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let point = Point {
            update: 300,
            value: 0.5,
            time: 2.0,
        };
        let message = scalar("wer", &point);
        let value = [&[0x0a, 3, b'w', b'e', b'r', 0x15][..], &0.5f32.to_le_bytes()].concat();
        let mut want = vec![0x09];
        want.extend(2f64.to_le_bytes());
        // 300 is 0b10_0101100.
        want.extend([0x10, 0xac, 0x02, 0x2a, value.len() as u8 + 2, 0x0a, value.len() as u8]);
        want.extend(&value);
        assert_eq!(message.0, want);
        let mut out = vec![];
        record(&mut out, &message);
        assert_eq!(out.len(), 8 + 4 + want.len() + 4);
        assert_eq!(&out[..8], (want.len() as u64).to_le_bytes());
        assert_eq!(&out[12..12 + want.len()], want);
    }
}
