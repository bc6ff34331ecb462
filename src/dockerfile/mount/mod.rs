//! The values of `RUN --mount=` and `--device=`.
//!
//! A mount is parsed twice: [`check_mount`] while the Dockerfile is parsed, which can only look at what does not depend
//! on variables, and [`parse_mount`] when the step is planned and they are known.

mod fields;
mod value;

use super::ast::{Mount, MountKind, Sharing, Word};
use super::expand::ExpandError;
use crate::diag::{Span, nearest};
use fields::fields;
use value::{boolean, number, size};

/// All keys, aliases included.
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// The kinds of mounts.
const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// The values of `sharing`.
const SHARINGS: [&str; 3] = ["shared", "private", "locked"];

/// Why a `--mount` or `--device` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// Nothing behind the `=`.
    #[error("the value is empty")]
    Empty,
    /// A quote inside of a field, or one that is not closed.
    #[error("misplaced or unclosed quote in `{value}`")]
    Quote {
        /// The whole value.
        value: String,
    },
    /// A key without value that needs one.
    #[error("invalid field `{field}`, it must be a `key=value` pair")]
    NoValue {
        /// The field.
        field: String,
    },
    /// A key that does not exist.
    #[error("unexpected key `{key}` in `{field}`{}", suggestion(nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// The field it stands in.
        field: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// A key that this type does not have.
    #[error("unexpected key `{key}` for mount type `{mount_type}`")]
    KeyOfOtherType {
        /// The key.
        key: String,
        /// The type.
        mount_type: &'static str,
    },
    /// A type that does not exist.
    #[error("unsupported mount type `{value}`{}", suggestion(nearest))]
    UnknownType {
        /// The type.
        value: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// A way of sharing that does not exist.
    #[error("unsupported sharing value `{value}`{}", suggestion(nearest))]
    UnknownSharing {
        /// The value.
        value: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// A value that is no boolean, number, octal mode or size.
    #[error("invalid value for `{key}`: `{value}` is not {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// `from` with a variable in it: which stage is meant must be known before anything is expanded.
    #[error("`from` doesn't support variable expansion: `{value}`")]
    VariableInFrom {
        /// The value.
        value: String,
    },
    /// A secret without any of `id`, `source` and `target`.
    #[error("invalid secret mount: one of `id`, `source` and `target` is required")]
    SecretWithoutId,
    /// Both `id` and `source` of a secret.
    #[error("both `source` and `id` can't be set")]
    SourceAndId,
    /// A second name for a device.
    #[error("device name already set to `{name}`")]
    SecondName {
        /// The first one.
        name: String,
    },
    /// A value that cannot be expanded.
    #[error(transparent)]
    Expand(#[from] ExpandError),
}

impl MountError {
    /// Returns what the user can do, if there is more to say than the message does.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            MountError::VariableInFrom { .. } => {
                Some("define a stage with `FROM <image> AS <name>`, which may use variables, and name that stage here")
            }
            MountError::SecretWithoutId => {
                Some("name the secret: `id=NAME`, as in `cooper build --secret id=NAME,src=FILE`")
            }
            MountError::NoValue { .. } => Some("write `key=value`, a comma between fields and no blanks"),
            MountError::Quote { .. } => Some("put the quotes around the whole field: `\"key=value\"`"),
            _ => None,
        }
    }
}

impl MountError {
    /// Returns whether a field, as written, is what the error is about.
    pub fn is_about(&self, field: &str) -> bool {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match self {
            MountError::NoValue { field: bad } | MountError::UnknownKey { field: bad, .. } => field == bad,
            MountError::KeyOfOtherType { key: bad, .. } => key.eq_ignore_ascii_case(bad),
            MountError::UnknownType { value: bad, .. } => {
                key.eq_ignore_ascii_case("type") && value.eq_ignore_ascii_case(bad)
            }
            MountError::UnknownSharing { value: bad, .. } => {
                key.eq_ignore_ascii_case("sharing") && value.eq_ignore_ascii_case(bad)
            }
            MountError::Value { key: bad_key, value: bad, .. } => key.eq_ignore_ascii_case(bad_key) && value == bad,
            MountError::VariableInFrom { value: bad } => key.eq_ignore_ascii_case("from") && value == bad,
            MountError::SourceAndId => matches!(key, "source" | "src"),
            _ => false,
        }
    }
}

fn suggestion(nearest: &Option<&'static str>) -> String {
    nearest.map(|best| format!(", did you mean `{best}`?")).unwrap_or_default()
}

/// A `--device` of `RUN`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// The CDI name, e.g. `vendor.com/class=name`.
    pub name: String,
    /// Whether the step fails when there is no such device.
    pub required: bool,
}

/// Returns where the field stands that an error is about, or the whole value if that is not certain.
pub fn culprit(value: &Word, error: &MountError) -> Span {
    let text = &value.node;
    // Quotes and escapes that were removed leave the span longer than the text.
    if value.span.end - value.span.start != text.len() {
        return value.span;
    }
    let mut start = 0;
    for field in text.split(',') {
        if error.is_about(field) {
            return Span::new(value.span.start + start, value.span.start + start + field.len());
        }
        start += field.len() + 1;
    }
    value.span
}

/// Checks what can be known of a mount before its variables are.
///
/// # Errors
/// A value that cannot be split into fields, or a variable in `from`.
pub fn check_mount(raw: &str) -> Result<(), MountError> {
    for field in fields(raw)? {
        let Some((key, value)) = field.split_once('=') else { continue };
        // A dollar at the very end is no variable.
        let has_variable = value.find('$').is_some_and(|at| at + 1 != value.len());
        if key.eq_ignore_ascii_case("from") && has_variable {
            return Err(MountError::VariableInFrom { value: value.to_owned() });
        }
    }
    Ok(())
}

/// The fields of a mount as far as they were read.
#[derive(Debug, Default)]
struct Given {
    from: Option<String>,
    source: Option<String>,
    target: Option<String>,
    id: Option<String>,
    env: Option<String>,
    sharing: Option<Sharing>,
    read_only: Option<bool>,
    required: Option<bool>,
    size_bytes: Option<u64>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// Parses a mount, expanding each value with `expand`; keys are not expanded.
///
/// Unlike in the reference parser, `type=` may stand behind the keys that depend on it.
///
/// # Errors
/// See [`MountError`].
pub fn parse_mount(
    raw: &str,
    expand: &mut dyn FnMut(&str) -> Result<String, ExpandError>,
) -> Result<Mount, MountError> {
    check_mount(raw)?;
    let mut mount_type = "bind";
    let mut given = Given::default();
    for field in fields(raw)? {
        match field.split_once('=') {
            None => given.set_flag(&field)?,
            Some((key, value)) => {
                let (key, value) = (key.to_ascii_lowercase(), expand(value)?);
                if key == "type" {
                    mount_type = known_type(&value)?;
                } else {
                    given.set(&key, value, &field)?;
                }
            }
        }
    }
    given.into_mount(mount_type)
}

fn known_type(value: &str) -> Result<&'static str, MountError> {
    let found = TYPES.into_iter().find(|known| known.eq_ignore_ascii_case(value));
    found.ok_or_else(|| MountError::UnknownType { value: value.to_owned(), nearest: nearest(value, TYPES) })
}

fn known_sharing(value: &str) -> Result<Sharing, MountError> {
    match value.to_ascii_lowercase().as_str() {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        _ => Err(MountError::UnknownSharing { value: value.to_owned(), nearest: nearest(value, SHARINGS) }),
    }
}

impl Given {
    /// Takes a field without value.
    fn set_flag(&mut self, field: &str) -> Result<(), MountError> {
        match field.to_ascii_lowercase().as_str() {
            "readonly" | "ro" => self.read_only = Some(true),
            "readwrite" | "rw" => self.read_only = Some(false),
            "required" => self.required = Some(true),
            _ => return Err(MountError::NoValue { field: field.to_owned() }),
        }
        Ok(())
    }

    /// Takes a field with a value; the last one of a key counts.
    fn set(&mut self, key: &str, value: String, field: &str) -> Result<(), MountError> {
        match key {
            "from" => self.from = Some(value),
            "source" | "src" => self.source = Some(value),
            "target" | "dst" | "destination" => self.target = Some(value),
            "readonly" | "ro" => self.read_only = Some(boolean(key, &value)?),
            "readwrite" | "rw" => self.read_only = Some(!boolean(key, &value)?),
            "required" => self.required = Some(boolean(key, &value)?),
            "size" => self.size_bytes = Some(size(key, &value)?),
            "id" => self.id = Some(value),
            "sharing" => self.sharing = Some(known_sharing(&value)?),
            "mode" => self.mode = Some(number(key, &value, 8)?),
            "uid" => self.uid = Some(number(key, &value, 10)?),
            "gid" => self.gid = Some(number(key, &value, 10)?),
            "env" => self.env = Some(value),
            _ => {
                let nearest = nearest(key, KEYS);
                return Err(MountError::UnknownKey { key: key.to_owned(), field: field.to_owned(), nearest });
            }
        }
        Ok(())
    }

    /// Returns the first key that this type does not have.
    fn misplaced(&self, mount_type: &str) -> Option<&'static str> {
        let (is_secret, is_cache) = (mount_type == "secret", mount_type == "cache");
        let has_owner = is_secret || is_cache || mount_type == "ssh";
        [
            ("required", self.required.is_some() && !is_secret && mount_type != "ssh"),
            ("size", self.size_bytes.is_some() && mount_type != "tmpfs"),
            ("mode", self.mode.is_some() && !has_owner),
            ("uid", self.uid.is_some() && !has_owner),
            ("gid", self.gid.is_some() && !has_owner),
            ("from", self.from.as_ref().is_some_and(|from| !from.is_empty()) && is_secret),
            ("sharing", self.sharing.is_some() && !is_cache),
            ("source", self.source.as_ref().is_some_and(|source| !source.is_empty()) && mount_type == "ssh"),
        ]
        .into_iter()
        .find_map(|(key, is_misplaced)| is_misplaced.then_some(key))
    }

    fn into_mount(self, mount_type: &'static str) -> Result<Mount, MountError> {
        if let Some(key) = self.misplaced(mount_type) {
            return Err(MountError::KeyOfOtherType { key: key.to_owned(), mount_type });
        }
        let filled = |value: Option<String>| value.filter(|value| !value.is_empty());
        let (from, source, target, id) = (filled(self.from), filled(self.source), filled(self.target), filled(self.id));
        let required = self.required.unwrap_or(false);
        let (mode, uid, gid) = (self.mode, self.uid, self.gid);
        let kind = match mount_type {
            "cache" => MountKind::Cache { id, sharing: self.sharing.unwrap_or_default(), from, source, mode, uid, gid },
            "tmpfs" => MountKind::Tmpfs { size_bytes: self.size_bytes },
            "secret" if source.is_some() && id.is_some() => return Err(MountError::SourceAndId),
            "secret" if source.is_none() && id.is_none() && target.is_none() => {
                return Err(MountError::SecretWithoutId);
            }
            "secret" => MountKind::Secret { id: id.or(source), required, mode, uid, gid, env: self.env },
            "ssh" => MountKind::Ssh { id, required, mode, uid, gid },
            _ => MountKind::Bind { from, source: source.unwrap_or_else(|| "/".to_owned()) },
        };
        Ok(Mount { kind, target: target.unwrap_or_default(), read_only: self.read_only })
    }
}

/// Parses a `--device`; nothing in it is expanded.
///
/// # Errors
/// See [`MountError`].
pub fn parse_device(raw: &str) -> Result<Device, MountError> {
    let mut device = Device::default();
    for field in fields(raw)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", None) => device.required = true,
            ("required", Some(value)) => device.required = boolean(&key, value)?,
            ("name", Some(value)) if device.name.is_empty() => device.name = value.to_owned(),
            ("name", Some(_)) => return Err(MountError::SecondName { name: device.name }),
            // A CDI name holds a `=` itself.
            _ if device.name.is_empty() => device.name = field,
            (_, None) => return Err(MountError::NoValue { field }),
            (_, Some(_)) => {
                let nearest = nearest(&key, ["name", "required"]);
                return Err(MountError::UnknownKey { key, field, nearest });
            }
        }
    }
    Ok(device)
}

#[cfg(test)]
mod tests;
