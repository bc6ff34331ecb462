//! `--annotation` and the `annotation` attributes of `--output`.

use crate::exec::request::{Annotation, AnnotationLevel};
use crate::image::Platform;

/// Returns the annotations of `[LEVEL[PLATFORM],...:]KEY=VALUE`, one for each level; without a level, the manifest's.
pub fn parse_annotations(text: &str) -> Result<Vec<Annotation>, String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("`{text}` is not of the form `key=value`"));
    };
    let (levels, key) = name.split_once(':').unwrap_or(("manifest", name));
    if key.is_empty() {
        return Err("the annotation has no name".to_owned());
    }
    levels.split(',').map(|level| annotation(level, key, value)).collect()
}

/// Returns the annotation of an output attribute `annotation[-LEVEL][[PLATFORM]].KEY`, or nothing for another name.
pub fn parse_attribute(name: &str, value: &str) -> Result<Option<Annotation>, String> {
    let Some(rest) = name.strip_prefix("annotation") else {
        return Ok(None);
    };
    // The platform may not hold a dot, so the first one outside the name's head ends it.
    let Some((head, key)) = rest.split_once('.') else {
        return Ok(None);
    };
    match head.strip_prefix('-') {
        Some(level) => annotation(level, key, value).map(Some),
        None if head.is_empty() || head.starts_with('[') => annotation(head, key, value).map(Some),
        None => Ok(None),
    }
}

fn annotation(level: &str, key: &str, value: &str) -> Result<Annotation, String> {
    let (level, platform) = match level.strip_suffix(']').and_then(|open| open.split_once('[')) {
        Some((level, platform)) => (level, Some(platform.parse::<Platform>().map_err(|error| error.to_string())?)),
        None => (level, None),
    };
    let level = match level {
        "" | "manifest" => AnnotationLevel::Manifest,
        "index" => AnnotationLevel::Index,
        "manifest-descriptor" => AnnotationLevel::ManifestDescriptor,
        "index-descriptor" => AnnotationLevel::IndexDescriptor,
        other => {
            return Err(format!(
                "there is no annotation level `{other}`; the levels are `manifest`, `index`, `manifest-descriptor` and `index-descriptor`"
            ));
        }
    };
    Ok(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_platforms() {
        assert_eq!(parse_annotations("a=b=c").unwrap()[0].value, "b=c");
        let both = parse_annotations("index,manifest-descriptor[linux/arm64]:org.x=y").unwrap();
        assert_eq!(both[0].level, AnnotationLevel::Index);
        assert_eq!(both[1].level, AnnotationLevel::ManifestDescriptor);
        assert_eq!(both[1].platform.as_ref().unwrap().to_string(), "linux/arm64");
        assert_eq!(both[1].key, "org.x");
        for bad in ["a", "=b", "layer:a=b", "manifest[x]:a=b"] {
            assert!(parse_annotations(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn attributes_of_outputs() {
        let plain = parse_attribute("annotation.org.x", "y").unwrap().unwrap();
        assert_eq!((plain.level, plain.key.as_str()), (AnnotationLevel::Manifest, "org.x"));
        let index = parse_attribute("annotation-index-descriptor.org.x", "y").unwrap().unwrap();
        assert_eq!(index.level, AnnotationLevel::IndexDescriptor);
        let one = parse_attribute("annotation[linux/amd64].k", "v").unwrap().unwrap();
        assert_eq!(one.platform.unwrap().to_string(), "linux/amd64");
        assert_eq!(parse_attribute("annotations", "y"), Ok(None));
    }
}
