//! Values that both the host and the device hold, copied only when the other side has newer ones.

use super::device::Device;
use crate::bytes;
use crate::error::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Newest {
    /// Zeros, which neither side may have written down yet.
    Zeros,
    Host,
    Device,
    Both,
}

/// An arena of f32 on two sides. Neither side has memory for it before it is asked for.
pub struct Mirror {
    elements: usize,
    host: Vec<f32>,
    address: Option<u64>,
    newest: Newest,
}

impl Mirror {
    /// Zeros.
    pub fn new(elements: usize) -> Mirror {
        Mirror {
            elements,
            host: vec![],
            address: None,
            newest: Newest::Zeros,
        }
    }

    pub fn bytes(&self) -> usize {
        self.elements * 4
    }

    /// Bytes that the device already holds for it.
    pub fn held(&self) -> usize {
        if self.address.is_some() { self.bytes() } else { 0 }
    }

    /// The newest values, for the host to read and to change.
    pub fn on_host(&mut self, device: &mut dyn Device) -> Result<&mut [f32], Error> {
        if self.host.len() != self.elements {
            self.host = vec![0.0; self.elements];
        }
        match (self.newest, self.address) {
            (Newest::Zeros, _) => self.host.fill(0.0),
            (Newest::Device, Some(address)) => device.download(address, bytes::of_mut(&mut self.host))?,
            _ => {}
        }
        self.newest = Newest::Host;
        Ok(&mut self.host)
    }

    /// Where the device has the newest values.
    pub fn on_device(&mut self, device: &mut dyn Device) -> Result<u64, Error> {
        let address = match self.address {
            Some(address) => address,
            None => {
                let address = device.alloc(self.bytes())?;
                self.address = Some(address);
                if self.newest == Newest::Zeros {
                    device.zero(address, self.bytes())?;
                }
                address
            }
        };
        if self.newest == Newest::Host {
            device.upload(address, bytes::of(&self.host))?;
            self.newest = Newest::Both;
        }
        Ok(address)
    }

    /// Whether the host has changed what the device holds, or the device holds nothing.
    pub fn device_is_behind(&self) -> bool {
        self.address.is_none() || self.newest == Newest::Host
    }

    /// To be told of launches that write to it.
    pub fn written_by_device(&mut self) {
        self.newest = Newest::Device;
    }

    /// Makes it zeros, on the device if that has it.
    pub fn zero(&mut self, device: &mut dyn Device) -> Result<(), Error> {
        if let Some(address) = self.address {
            device.zero(address, self.bytes())?;
        }
        self.newest = Newest::Zeros;
        Ok(())
    }
}
