//! Devices of several ranks: whether they are different ones, and whether they sum gradients among themselves.

use super::device::Device;
use crate::error::Error;
use crate::ranks::Ranks;

/// Connects a device with those of the other ranks; why they cannot sum among themselves, where they cannot.
///
/// # Errors
/// Where two ranks have the same device, or different versions of NCCL.
pub fn join(device: &mut dyn Device, ranks: &Ranks) -> Result<Option<String>, Error> {
    let own = (device.identity(), device.sums_by()?);
    let all = ranks.gather(own)?;
    for (rank, (identity, _)) in all.iter().enumerate() {
        let before = all[..rank]
            .iter()
            .position(|(other, _)| identity.is_some() && other == identity);
        if let Some(other) = before {
            return Err(Error::Ranks {
                what: format!("{} and {} compute on the same GPU", ranks.name(other), ranks.name(rank)),
                remedy: "start as many ranks on a machine as it has GPUs, or give each its own by --device cuda:N"
                    .into(),
            });
        }
    }
    if let Some(rank) = all.iter().position(|(_, version)| version.is_none()) {
        let what = format!("{} has no NCCL (libnccl.so.2; W2VC_NCCL=PATH)", ranks.name(rank));
        return Ok(Some(format!(
            "gradients pass through the hosts' memory, which takes longer: {what}"
        )));
    }
    let versions: Vec<Option<i32>> = all.into_iter().map(|(_, version)| version).collect();
    ranks.compare("version of NCCL", &versions)?;
    let invitation = ranks.from_first(|| device.invitation())?;
    device.join(&invitation, ranks.rank(), ranks.size())?;
    Ok(None)
}
