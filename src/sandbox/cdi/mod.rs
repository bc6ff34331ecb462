//! Devices of this machine by the names of the Container Device Interface: what `RUN --device` asks for.
//!
//! Specifications are files that a vendor's driver installs.  Each names devices and what a container needs to use
//! one: device nodes, mounts, variables, groups.  See the CDI specification, version 1.1.

mod edits;
mod name;
mod spec;
#[cfg(test)]
mod tests;

pub use edits::{DeviceMount, DeviceNode, Edits};

use spec::{Device, Spec};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where specifications are: those of the administrator, then those that were generated, which win.
pub const SPEC_DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Bytes that one specification may have; of a machine with eight GPUs it has some 100 KiB.
const SPEC_LIMIT_BYTES: u64 = 4 << 20;
/// Specifications that are read.
const SPEC_COUNT_LIMIT: usize = 1_000;

/// Annotation by which a device is also called.
const CLASS: &str = "org.mobyproject.buildkit.device.class";
/// Annotation of a device that needs no `--allow`.
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

/// The devices of a machine.
#[derive(Debug, Default)]
pub struct Devices {
    /// By qualified name, `vendor.com/class=name`.
    known: BTreeMap<String, Known>,
    problems: Vec<String>,
}

#[derive(Debug)]
struct Known {
    spec: Arc<Spec>,
    device: Device,
    file: PathBuf,
    priority: usize,
}

impl Known {
    fn annotation(&self, name: &str) -> Option<&str> {
        self.device.annotations.get(name).or_else(|| self.spec.annotations.get(name)).map(String::as_str)
    }
}

impl Devices {
    /// Reads the specifications of directories, of which the later ones win.
    ///
    /// One that cannot be read is left out, see [`Devices::problems`]: it must not spoil the others.
    pub fn read<P: AsRef<Path>>(directories: &[P]) -> Devices {
        let mut devices = Devices::default();
        let mut conflicts = BTreeSet::new();
        for (priority, directory) in directories.iter().enumerate() {
            for file in files(directory.as_ref()) {
                match read_spec(&file) {
                    Ok(spec) => devices.add(spec, &file, priority, &mut conflicts),
                    Err(reason) => devices.problems.push(format!("`{}`: {reason}", file.display())),
                }
            }
        }
        // Which of the two is meant nobody can know.
        for name in conflicts {
            devices.known.remove(&name);
        }
        devices
    }

    fn add(&mut self, mut spec: Spec, file: &Path, priority: usize, conflicts: &mut BTreeSet<String>) {
        let own = std::mem::take(&mut spec.devices);
        let spec = Arc::new(spec);
        for device in own {
            let name = format!("{}={}", spec.kind, device.name);
            match self.known.get(&name) {
                Some(other) if other.priority == priority => {
                    let (one, two) = (other.file.display(), file.display());
                    self.problems.push(format!("device `{name}` is in `{one}` and in `{two}`"));
                    conflicts.insert(name);
                }
                _ => {
                    conflicts.remove(&name);
                    let (spec, file) = (spec.clone(), file.to_owned());
                    self.known.insert(name, Known { spec, device, file, priority });
                }
            }
        }
    }

    /// Returns what kept specifications and devices from being known, a sentence each.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Returns the qualified names of all devices, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }

    /// Returns the qualified names of the devices that a name stands for, none if there is no such device.
    ///
    /// `vendor/class=name` is one device, `vendor/class` the first of its class, `vendor/class=*` all of them; else a
    /// name may be the class that specifications give their devices by annotation.
    pub fn find(&self, wanted: &str) -> Vec<String> {
        let (kind, name) = wanted.split_once('=').unwrap_or((wanted, ""));
        let of_kind = || self.names().filter(|known| known.split_once('=').is_some_and(|(own, _)| own == kind));
        let mut found: Vec<String> = Vec::new();
        if name::is_kind(kind) {
            match name {
                "" => found.extend(of_kind().next().map(str::to_owned)),
                "*" => found.extend(of_kind().map(str::to_owned)),
                _ => found.extend(of_kind().find(|known| *known == wanted).map(str::to_owned)),
            }
        }
        if found.is_empty() {
            let is_class = |known: &Known| known.annotation(CLASS) == Some(wanted);
            found.extend(self.known.iter().filter(|(_, known)| is_class(known)).map(|(name, _)| name.clone()));
        }
        found
    }

    /// Whether a device, by its qualified name, may be used by every build.
    pub fn is_auto_allowed(&self, name: &str) -> bool {
        let value = self.known.get(name).and_then(|known| known.annotation(AUTO_ALLOW));
        value.is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// Returns what a step needs to use devices, given by their qualified names: for each specification what all its
    /// devices need, once, and what each device needs.
    pub fn edits(&self, names: &[String]) -> Edits {
        let mut edits = Edits::default();
        let mut specs: Vec<*const Spec> = Vec::new();
        for name in names {
            let Some(known) = self.known.get(name) else { continue };
            let spec = Arc::as_ptr(&known.spec);
            if !specs.contains(&spec) {
                specs.push(spec);
                edits.add(name, &known.spec.container_edits);
            }
            edits.add(name, &known.device.container_edits);
        }
        edits
    }
}

/// Returns the files of a directory that are specifications, sorted; a directory that is not there has none.
fn files(directory: &Path) -> Vec<PathBuf> {
    let is_spec = |path: &PathBuf| path.extension().is_some_and(|end| end == "json" || end == "yaml");
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_spec).collect();
    files.sort();
    files.truncate(SPEC_COUNT_LIMIT);
    files
}

fn read_spec(path: &Path) -> Result<Spec, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("it is not a file".to_owned());
    }
    file.take(SPEC_LIMIT_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > SPEC_LIMIT_BYTES {
        return Err(format!("it is larger than {SPEC_LIMIT_BYTES} bytes"));
    }
    spec::parse(&text, path.extension().is_some_and(|end| end == "json"))
}
