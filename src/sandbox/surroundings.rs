//! What kind of container this program runs in, so that a hint names the line that its user can write.

use std::path::Path;

/// Who started this process's container, if it is in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surroundings {
    /// A pod.
    Kubernetes,
    /// A container of the Docker engine or of podman, whose options are the same.
    Docker,
    /// A machine, or a container that does not show.
    Unknown,
}

impl Surroundings {
    /// Looks at the marks that the runtimes leave.
    pub(super) fn detect() -> Surroundings {
        if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
            return Surroundings::Kubernetes;
        }
        let marks = ["/.dockerenv", "/run/.containerenv"];
        if marks.iter().any(|mark| Path::new(mark).exists()) { Surroundings::Docker } else { Surroundings::Unknown }
    }

    /// Returns what to write in a container's settings: in the pod's manifest, on Docker's command line, or either.
    pub(super) fn setting(self, kubernetes: &str, docker: &str) -> String {
        match self {
            Surroundings::Kubernetes => format!("in the pod's manifest: `{kubernetes}`"),
            Surroundings::Docker => format!("start the container with `{docker}`"),
            Surroundings::Unknown => {
                format!("in a container of Docker: `{docker}`; in a Kubernetes manifest: `{kubernetes}`")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_one_for_who_started_the_container() {
        let line = |surroundings: Surroundings| surroundings.setting("runAsUser: 0", "--user 0");
        assert_eq!(line(Surroundings::Kubernetes), "in the pod's manifest: `runAsUser: 0`");
        assert_eq!(line(Surroundings::Docker), "start the container with `--user 0`");
        assert_eq!(
            line(Surroundings::Unknown),
            "in a container of Docker: `--user 0`; in a Kubernetes manifest: `runAsUser: 0`"
        );
    }
}
