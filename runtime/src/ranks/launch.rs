//! Whether a launcher started this process as one of several, by the environment that it leaves. Nothing is opened to find out.

use super::watch::leave;
use std::env;
use std::time::Duration;

/// A variable that says how many processes there are, and the launcher that sets it.
const SIZES: [(&str, Launcher); 3] = [
    ("OMPI_COMM_WORLD_SIZE", Launcher::OpenMpi),
    ("PMI_SIZE", Launcher::Pmi),
    ("SLURM_STEP_NUM_TASKS", Launcher::Slurm),
];

/// The variable that names the MPI library to open, or `none`.
pub const LIBRARY: &str = "W2VC_MPI";

/// What started this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// Open MPI's mpirun.
    OpenMpi,
    /// MPICH's and Intel's mpirun, and srun --mpi=pmi2.
    Pmi,
    /// srun, with whatever it speaks.
    Slurm,
}

impl Launcher {
    pub fn name(self) -> &'static str {
        match self {
            Launcher::OpenMpi => "mpirun of Open MPI",
            Launcher::Pmi => "mpirun of MPICH (or srun --mpi=pmi2)",
            Launcher::Slurm => "srun",
        }
    }

    /// Names of libraries to try, the launcher's own first.
    pub fn libraries(self) -> Vec<&'static str> {
        const OPEN: [&str; 1] = ["libmpi.so.40"];
        const MPICH: [&str; 4] = ["libmpich.so.12", "libmpi.so.12", "libmpi_abi.so.1", "libmpi_abi.so.0"];
        let mut names: Vec<&str> = match self {
            Launcher::Pmi => MPICH.into_iter().chain(OPEN).collect(),
            Launcher::OpenMpi | Launcher::Slurm => OPEN.into_iter().chain(MPICH).collect(),
        };
        names.push("libmpi.so");
        names
    }
}

/// A job of several processes, as its launcher tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    pub launcher: Launcher,
    /// Processes of the job.
    pub size: usize,
    /// The library that the user names.
    pub library: Option<String>,
    /// This process among them, by the launcher.
    pub rank: usize,
}

/// Variables that say which of the processes this is.
const RANKS: [&str; 3] = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"];

/// Long enough for a launcher to end the others of a job of which one has failed.
const PATIENCE: Duration = Duration::from_secs(2);

impl Launch {
    /// Ends this process unless it is the first of the job, which says why.
    pub fn silent_unless_first(&self, code: u8) {
        if self.rank > 0 {
            std::thread::sleep(PATIENCE / 2);
            leave(code);
        }
    }

    /// For errors that all processes meet before they know each other: all but the first wait, and are usually ended.
    pub fn let_the_first_speak(&self) {
        if self.rank > 0 {
            std::thread::sleep(PATIENCE);
        }
    }

    /// `None` where this process is alone, or `W2VC_MPI=none` says that it is to act so.
    pub fn seen() -> Option<Launch> {
        Launch::of(&|name| env::var(name).ok())
    }

    fn of(value: &dyn Fn(&str) -> Option<String>) -> Option<Launch> {
        let library = value(LIBRARY).filter(|l| !l.is_empty());
        if library.as_deref() == Some("none") {
            return None;
        }
        let (launcher, size) = SIZES.iter().find_map(|(name, launcher)| {
            let size = value(name)?.trim().parse::<usize>().ok()?;
            Some((*launcher, size))
        })?;
        (size > 1).then_some(Launch {
            launcher,
            size,
            library,
            rank: RANKS
                .iter()
                .find_map(|name| value(name)?.trim().parse().ok())
                .unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> Option<Launch> {
        let found = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
        Launch::of(&found)
    }

    #[test]
    fn the_environment_says_who_started_this_process_and_how_many_there_are() {
        let launch = of(&[("OMPI_COMM_WORLD_SIZE", "4"), ("SLURM_STEP_NUM_TASKS", "2")]).unwrap();
        assert_eq!((launch.launcher, launch.size), (Launcher::OpenMpi, 4));
        let launch = of(&[("PMI_SIZE", "3"), (LIBRARY, "/opt/libmpi.so")]).unwrap();
        assert_eq!((launch.launcher, launch.size), (Launcher::Pmi, 3));
        assert_eq!(launch.library.as_deref(), Some("/opt/libmpi.so"));
        assert_eq!(of(&[("SLURM_STEP_NUM_TASKS", "8")]).unwrap().launcher, Launcher::Slurm);
    }

    #[test]
    fn one_process_is_alone_and_so_is_who_says_so() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "1")]), None);
        assert_eq!(of(&[("SLURM_STEP_NUM_TASKS", "8"), (LIBRARY, "none")]), None);
        assert_eq!(of(&[("PMI_SIZE", "many")]), None);
    }

    #[test]
    fn the_launchers_own_library_is_tried_first() {
        assert_eq!(Launcher::OpenMpi.libraries()[0], "libmpi.so.40");
        assert_eq!(Launcher::Pmi.libraries()[0], "libmpich.so.12");
    }
}
