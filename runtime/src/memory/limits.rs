//! What limits the memory of a process on Linux: the machine, the control groups it is in (version 1 and 2, those around them
//! included), and its own limits (`ulimit -v`, `ulimit -d`).

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that can still be had; every file is looked for below `root`.
pub fn room(root: &Path) -> Option<usize> {
    let of_machine = kilobytes(&root.join("proc/meminfo"), "MemAvailable");
    of_machine
        .into_iter()
        .chain(of_groups(root))
        .chain(of_process(root))
        .min()
}

/// Value of a `Name:  123 kB` line, in bytes.
pub fn kilobytes(file: &Path, name: &str) -> Option<usize> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<usize>()
        .ok()?
        .checked_mul(1024)
}

/// What `ulimit` leaves: of the address space, and of the data in it.
fn of_process(root: &Path) -> Vec<usize> {
    let own = root.join("proc/self");
    let Ok(limits) = fs::read_to_string(own.join("limits")) else {
        return vec![];
    };
    let left = |limit: &str, used: &str| {
        let line = limits.lines().find_map(|l| l.strip_prefix(limit))?;
        let most: usize = line.split_whitespace().next()?.parse().ok()?;
        Some(most.saturating_sub(kilobytes(&own.join("status"), used)?))
    };
    [("Max address space", "VmSize"), ("Max data size", "VmData")]
        .into_iter()
        .filter_map(|(limit, used)| left(limit, used))
        .collect()
}

/// How the files of a version are called.
struct Names {
    limits: &'static [&'static str],
    used: &'static str,
    /// Lines of `memory.stat` that count what the system takes back before it refuses.
    cached: [&'static str; 2],
}

const VERSION_1: Names = Names {
    limits: &["memory.limit_in_bytes"],
    used: "memory.usage_in_bytes",
    cached: ["total_inactive_file", "total_active_file"],
};
const VERSION_2: Names = Names {
    limits: &["memory.max", "memory.high"],
    used: "memory.current",
    cached: ["inactive_file", "active_file"],
};

/// What each group that this process is in leaves.
fn of_groups(root: &Path) -> Vec<usize> {
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mut all = vec![];
    for line in groups.lines() {
        // number:controllers:path; version 2 has number 0 and names no controllers.
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let names = match controllers.split(',').any(|c| c == "memory") {
            true => &VERSION_1,
            false if number == "0" && controllers.is_empty() => &VERSION_2,
            false => continue,
        };
        for folder in folders(&mounts, path, std::ptr::eq(names, &VERSION_1)) {
            all.extend(left(&root.join(folder.strip_prefix("/").unwrap_or(&folder)), names));
        }
    }
    all
}

/// The folder of a group, and those of the groups around it up to where they are mounted.
fn folders(mounts: &str, path: &str, version_1: bool) -> Vec<PathBuf> {
    let mut all = vec![];
    for line in mounts.lines() {
        // id parent device root mount-point options [fields] - type source options
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let before: Vec<&str> = before.split(' ').collect();
        let after: Vec<&str> = after.split(' ').collect();
        let (&[_, _, _, root, point, ..], [kind, _, options]) = (before.as_slice(), after.as_slice()) else {
            continue;
        };
        let holds = match version_1 {
            true => *kind == "cgroup" && options.split(',').any(|o| o == "memory"),
            false => *kind == "cgroup2",
        };
        if !holds {
            continue;
        }
        // In a container the mount shows the container's own group as its root, and the path may be seen from outside it.
        let point = Path::new(point);
        let inside = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        let inside = inside.strip_prefix("/").unwrap_or(inside);
        if inside
            .components()
            .all(|c| matches!(c, std::path::Component::Normal(_)))
        {
            all.extend(inside.ancestors().map(|a| point.join(a)));
        } else {
            all.push(point.into());
        }
    }
    all
}

/// What a group's limits leave of it, where it has any.
fn left(folder: &Path, names: &Names) -> Option<usize> {
    let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<usize>().ok();
    let most = names.limits.iter().filter_map(|file| number(file)).min()?;
    let used = number(names.used).unwrap_or(0);
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = |name: &str| {
        stat.lines()
            .find_map(|l| l.strip_prefix(name)?.trim().parse::<usize>().ok())
    };
    let cached: usize = names.cached.iter().filter_map(|name| cached(name)).sum();
    Some(most.saturating_sub(used.saturating_sub(cached)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with files in it.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let all = [("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    8000 kB\n")];
        for (name, text) in all.iter().chain(files) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const V1: &str = "30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
    const V2: &str = "30 25 0:26 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_least_limit_holds() {
        assert_eq!(room(root(&[]).path()), Some(8_192_000));
        let v1 = |limit: &str| {
            root(&[
                ("proc/self/mountinfo", V1),
                ("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000000\n"),
                ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "700000\n"),
                (
                    "sys/fs/cgroup/memory/a/memory.stat",
                    "cache 5\ntotal_inactive_file 100000\ntotal_active_file 50000\n",
                ),
                ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", limit),
                ("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "4000\n"),
            ])
        };
        // The group around has less left than the inner one, then more.
        assert_eq!(room(v1("9223372036854771712\n").path()), Some(450_000));
        assert_eq!(room(v1("5000\n").path()), Some(1000));
        let v2 = |max: &str, high: &str| {
            root(&[
                ("proc/self/mountinfo", V2),
                ("proc/self/cgroup", "0::/user.slice/app\n"),
                ("sys/fs/cgroup/user.slice/memory.max", max),
                ("sys/fs/cgroup/user.slice/memory.high", high),
                ("sys/fs/cgroup/user.slice/memory.current", "300\n"),
                ("sys/fs/cgroup/user.slice/app/memory.max", "max\n"),
            ])
        };
        assert_eq!(room(v2("max\n", "max\n").path()), Some(8_192_000));
        assert_eq!(room(v2("1000\n", "max\n").path()), Some(700));
        assert_eq!(room(v2("1000\n", "900\n").path()), Some(600));
        assert_eq!(room(v2("200\n", "max\n").path()), Some(0));
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        let inside = root(&[
            (
                "proc/self/mountinfo",
                "30 25 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
            ),
            ("proc/self/cgroup", "0::/docker/1\n"),
            ("sys/fs/cgroup/memory.max", "5000\n"),
            ("sys/fs/cgroup/memory.current", "1000\n"),
        ]);
        assert_eq!(room(inside.path()), Some(4000));
    }

    #[test]
    fn limits_of_the_process_count() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max data size             unlimited            unlimited            bytes\n\
                      Max address space         4096000              unlimited            bytes\n";
        let own = root(&[
            ("proc/self/limits", limits),
            ("proc/self/status", "Name: x\nVmSize:\t    1000 kB\nVmData:\t 10 kB\n"),
        ]);
        assert_eq!(room(own.path()), Some(4_096_000 - 1_024_000));
    }
}
