//! `--output`, `--push` and `--load`.

use super::annotation::parse_attribute;
use super::value::{parse_bool, parse_fields, parse_pairs};
use crate::exec::request::{OutputKind, OutputSpec};
use crate::layer::Compression;
use std::path::PathBuf;

/// Attributes of buildx's exporters that cooper does not have, each with what to do instead.
const REFUSED: &[(&str, &str)] = &[
    ("push-by-digest", "give the image a name; cooper pushes it under its tags"),
    ("name-canonical", "the digest is in the file of `--metadata-file`"),
    ("registry.insecure", "mark the registry `insecure = true` in registries.conf"),
    ("store", "`type=image` is always kept in the store; use `type=registry` or `type=oci` for another place"),
    ("unpack", "the store keeps the layers of an image unpacked as long as they are needed"),
    ("dangling-name-prefix", "an image without a name is found by its digest"),
    ("attestation-prefix", "attestations are not made yet"),
    ("context", "`type=docker` talks to the daemon named by DOCKER_HOST"),
    ("mode", "files keep the modes that they have in the image"),
];

/// Returns what one `--output` asks for: CSV of `key=value`, or a bare path for `type=local`, or `-` for `type=tar`.
pub fn parse_output(text: &str) -> Result<OutputSpec, String> {
    let fields = parse_fields(text)?;
    if fields.len() == 1 && fields[0] == text && !text.starts_with("type=") {
        let kind = if text == "-" { OutputKind::Tar } else { OutputKind::Local };
        if text.is_empty() {
            return Err("the destination is empty".to_owned());
        }
        return Ok(OutputSpec { dest: Some(PathBuf::from(text)), ..OutputSpec::of(kind) });
    }
    let pairs = parse_pairs(text)?;
    let Some((_, kind)) = pairs.iter().rev().find(|(key, _)| key == "type") else {
        return Err("`type=` is missing".to_owned());
    };
    let mut output = OutputSpec::of(parse_kind(kind)?);
    for (key, value) in &pairs {
        set_attribute(&mut output, key, value)?;
    }
    set_compression(&mut output, &pairs)?;
    check(output)
}

fn parse_kind(text: &str) -> Result<OutputKind, String> {
    Ok(match text {
        "oci" => OutputKind::Oci,
        "docker" => OutputKind::Docker,
        "tar" => OutputKind::Tar,
        "local" => OutputKind::Local,
        "image" => OutputKind::Image,
        "registry" => OutputKind::Registry,
        "cacheonly" => OutputKind::CacheOnly,
        other => {
            let known = ["oci", "docker", "tar", "local", "image", "registry", "cacheonly"];
            let meant = crate::diag::nearest(other, known).map(|near| format!(", did you mean `{near}`?"));
            return Err(format!("there is no output type `{other}`{}", meant.unwrap_or_default()));
        }
    })
}

fn set_attribute(output: &mut OutputSpec, key: &str, value: &str) -> Result<(), String> {
    match key {
        "type" | "compression" | "compression-level" => {}
        "dest" => output.dest = Some(PathBuf::from(value)),
        "name" => output.names.extend(value.split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned)),
        "push" => output.push = attribute_bool(key, value)?,
        "tar" => output.tar = attribute_bool(key, value)?,
        "force-compression" => output.force_compression = attribute_bool(key, value)?,
        "rewrite-timestamp" => output.rewrite_timestamp = attribute_bool(key, value)?,
        "platform-split" => output.platform_split = Some(attribute_bool(key, value)?),
        "oci-mediatypes" => output.oci_media_types = Some(attribute_bool(key, value)?),
        _ => match parse_attribute(key, value)? {
            Some(annotation) => output.annotations.push(annotation),
            None => return Err(refusal(key)),
        },
    }
    Ok(())
}

fn attribute_bool(key: &str, value: &str) -> Result<bool, String> {
    parse_bool(value).map_err(|error| format!("`{key}`: {error}"))
}

fn refusal(key: &str) -> String {
    match REFUSED.iter().find(|(name, _)| *name == key) {
        Some((_, instead)) => format!("cooper does not have the attribute `{key}`: {instead}"),
        None => format!("there is no attribute `{key}`"),
    }
}

fn set_compression(output: &mut OutputSpec, pairs: &[(String, String)]) -> Result<(), String> {
    let last = |name: &str| pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let level = |highest: u8| match last("compression-level") {
        None => Ok(None),
        Some(text) => match text.parse::<u8>() {
            Ok(level) if (1..=highest).contains(&level) => Ok(Some(level)),
            _ => Err(format!("`compression-level` is a number from 1 to {highest}, not `{text}`")),
        },
    };
    output.compression = match last("compression") {
        None if is_kept_here(output) && last("compression-level").is_none() => Compression::Uncompressed,
        None | Some("gzip") => Compression::Gzip(level(12)?),
        Some("zstd") => Compression::Zstd(level(22)?),
        Some("uncompressed") if last("compression-level").is_none() => Compression::Uncompressed,
        Some("uncompressed") => return Err("`compression=uncompressed` has no level".to_owned()),
        Some("estargz") => {
            return Err("cooper does not write estargz: `gzip`, `zstd` and `uncompressed` are there".to_owned());
        }
        Some(other) => {
            return Err(format!("`compression` is `gzip`, `zstd` or `uncompressed`, not `{other}`"));
        }
    };
    Ok(())
}

/// Whether an image goes to the store alone: it is compressed when it leaves, not each time that it is built.
fn is_kept_here(output: &OutputSpec) -> bool {
    output.kind == OutputKind::Image && !output.push
}

/// Refuses combinations that mean nothing, rather than ignore half of them.
fn check(output: OutputSpec) -> Result<OutputSpec, String> {
    use OutputKind::{CacheOnly, Docker, Image, Local, Oci, Registry, Tar};
    let to_stdout = output.dest.as_ref().is_none_or(|dest| dest.as_os_str() == "-");
    match output.kind {
        Local if output.dest.is_none() => return Err("`type=local` needs `dest=`, a directory".to_owned()),
        Local if to_stdout => return Err("`type=local` cannot be written to standard output".to_owned()),
        Oci | Docker if !output.tar && to_stdout => return Err("`tar=false` needs `dest=`, a directory".to_owned()),
        Image | Registry | CacheOnly if output.dest.is_some() => {
            return Err("`dest` belongs to the types `oci`, `docker`, `tar` and `local`".to_owned());
        }
        Oci | Docker | Tar | Local | CacheOnly if output.push => {
            return Err("`push` belongs to `type=image`".to_owned());
        }
        _ => {}
    }
    Ok(output)
}

/// Returns the outputs together with those that `--push` and `--load` stand for.
pub fn with_shortcuts(mut outputs: Vec<OutputSpec>, push: bool, load: bool) -> Vec<OutputSpec> {
    if push {
        let mut to_registry = outputs.iter_mut().filter(|o| matches!(o.kind, OutputKind::Image | OutputKind::Registry));
        match to_registry.next() {
            Some(first) => {
                first.push = true;
                to_registry.for_each(|other| other.push = true);
            }
            None => outputs.push(OutputSpec::of(OutputKind::Registry)),
        }
    }
    let loads = |output: &OutputSpec| output.kind == OutputKind::Docker && output.dest.is_none();
    if load && !outputs.iter().any(loads) {
        outputs.push(OutputSpec::of(OutputKind::Docker));
    }
    outputs
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_path_is_a_directory_and_a_dash_a_tar() {
        let local = parse_output("out/dir").unwrap();
        assert_eq!((local.kind, local.dest), (OutputKind::Local, Some("out/dir".into())));
        // buildx takes any single field without `type=` for a path.
        assert_eq!(parse_output("dest=x").unwrap().dest, Some("dest=x".into()));
        let tar = parse_output("-").unwrap();
        assert_eq!((tar.kind, tar.dest), (OutputKind::Tar, Some("-".into())));
    }

    #[test]
    fn attributes_are_typed() {
        let output = parse_output(
            r#"type=image,"name=a:1,b:2",push=true,compression=zstd,compression-level=19,force-compression=1,rewrite-timestamp=t,oci-mediatypes=false,annotation.a=b"#,
        )
        .unwrap();
        assert_eq!(output.names, ["a:1", "b:2"]);
        assert_eq!(output.compression, Compression::Zstd(Some(19)));
        assert!(output.push && output.force_compression && output.rewrite_timestamp);
        assert_eq!(output.oci_media_types, Some(false));
        assert_eq!(output.annotations[0].key, "a");
        assert!(parse_output("type=registry").unwrap().push);
        assert!(!parse_output("type=oci,tar=false,dest=out").unwrap().tar);
    }

    #[test]
    fn wrong_outputs_say_what_is_wrong() {
        for (text, message) in [
            ("", "the destination is empty"),
            ("dest=x,tar=true", "`type=` is missing"),
            ("type=ocl,dest=x", "there is no output type `ocl`, did you mean `oci`?"),
            ("type=local", "`type=local` needs `dest=`, a directory"),
            ("type=local,dest=-", "`type=local` cannot be written to standard output"),
            ("type=oci,tar=false", "`tar=false` needs `dest=`, a directory"),
            ("type=image,dest=x", "`dest` belongs to the types `oci`, `docker`, `tar` and `local`"),
            ("type=oci,push=true", "`push` belongs to `type=image`"),
            ("type=oci,push=maybe", "`push`: `maybe` is neither `true` nor `false`"),
            ("type=oci,colour=red", "there is no attribute `colour`"),
            (
                "type=oci,compression=gzip,compression-level=13",
                "`compression-level` is a number from 1 to 12, not `13`",
            ),
            (
                "type=image,push-by-digest=true",
                "cooper does not have the attribute `push-by-digest`: give the image a name; cooper pushes it under its tags",
            ),
        ] {
            assert_eq!(parse_output(text).unwrap_err(), message, "{text}");
        }
    }

    #[test]
    fn push_and_load_are_added_once() {
        let outputs = with_shortcuts(vec![parse_output("type=image").unwrap()], true, true);
        assert_eq!(outputs.len(), 2);
        assert!(outputs[0].push);
        assert_eq!(outputs[1].kind, OutputKind::Docker);
        assert_eq!(with_shortcuts(outputs, true, true).len(), 2);
        assert_eq!(with_shortcuts(Vec::new(), true, false)[0].kind, OutputKind::Registry);
    }
}
