//! Which code runs on which GPU under which driver.

use ir::artifact::{PtxImage, PtxKernel};

/// A version as (major, minor): of PTX, of CUDA, or a GPU's compute capability.
pub type Version = (u32, u32);

/// Compute capability that code for an architecture needs, and whether it runs on that one alone: `sm_80` runs on 8.0
/// and all later ones, `sm_90a` on 9.0 only.
pub fn capability(arch: &str) -> Option<(Version, bool)> {
    let digits = arch.strip_prefix("sm_")?;
    let (number, only) = match digits.strip_suffix('a') {
        Some(number) => (number, true),
        None => (digits, false),
    };
    let n: u32 = number.parse().ok()?;
    Some(((n / 10, n % 10), only))
}

pub fn runs_on(arch: &str, device: Version) -> bool {
    match capability(arch) {
        Some((needed, true)) => device == needed,
        Some((needed, false)) => device >= needed,
        None => false,
    }
}

/// The newest `.version` among the kernels.
pub fn ptx_version(image: &PtxImage) -> Option<Version> {
    let of = |kernel: &PtxKernel| {
        let line = kernel.text.lines().find_map(|l| l.trim().strip_prefix(".version"))?;
        let (major, minor) = line.trim().split_once('.')?;
        Some((major.trim().parse().ok()?, minor.trim().parse().ok()?))
    };
    image.kernels.iter().filter_map(of).max()
}

/// The first CUDA that reads a version of PTX (the table "PTX Release History" of NVIDIA's PTX manual).
pub fn cuda_for((major, minor): Version) -> Version {
    match (major, minor) {
        (8, 6..) => (12, minor + 1),
        (7.., _) => (major + 4, minor),
        _ => (11, 0),
    }
}

/// The first CUDA with every call that is made to the driver.
const CALLS: Version = (12, 0);

/// The oldest driver, as the CUDA it supports, that runs any of the images.
pub fn least_cuda(images: &[PtxImage]) -> Version {
    images
        .iter()
        .filter_map(ptx_version)
        .map(cuda_for)
        .min()
        .map_or(CALLS, |v| v.max(CALLS))
}

/// The image for a device: the one made for the newest architecture among those that run there.
pub fn choose(images: &[PtxImage], device: Version, driver: Version) -> Option<usize> {
    (0..images.len())
        .filter(|i| runs_on(&images[*i].arch, device))
        .filter(|i| ptx_version(&images[*i]).is_none_or(|v| cuda_for(v) <= driver))
        .max_by_key(|i| capability(&images[*i].arch))
}

pub fn text((major, minor): Version) -> String {
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(arch: &str, version: &str) -> PtxImage {
        PtxImage {
            arch: arch.into(),
            kernels: vec![PtxKernel {
                text: format!("//\n.version {version}\n.target {arch}\n"),
                grids: vec![],
                workspace: 0.into(),
            }],
        }
    }

    #[test]
    fn the_newest_code_that_runs_is_chosen() {
        let images = [image("sm_80", "7.0"), image("sm_90a", "8.0")];
        let driver = (12, 4);
        assert_eq!(choose(&images, (9, 0), driver), Some(1));
        for other in [(8, 0), (8, 6), (8, 9), (10, 0), (12, 0)] {
            assert_eq!(choose(&images, other, driver), Some(0), "{other:?}");
        }
        assert_eq!(choose(&images, (7, 5), driver), None);
        assert_eq!(
            choose(&images, (9, 0), (11, 8)),
            Some(0),
            "a driver that cannot read PTX 8.0"
        );
        assert_eq!(choose(&images, (9, 0), (10, 2)), None);
        assert_eq!(least_cuda(&images), (12, 0));
        assert_eq!(least_cuda(&[image("sm_80", "8.8")]), (12, 9));
    }

    #[test]
    fn versions_of_cuda_follow_the_table() {
        for (ptx, cuda) in [
            ((7, 0), (11, 0)),
            ((7, 8), (11, 8)),
            ((8, 5), (12, 5)),
            ((8, 6), (12, 7)),
            ((8, 8), (12, 9)),
            ((9, 0), (13, 0)),
        ] {
            assert_eq!(cuda_for(ptx), cuda);
        }
    }
}
