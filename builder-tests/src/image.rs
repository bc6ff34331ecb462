//! An image as it lies in an OCI layout, read back whole.

use crate::read_tar;
use cooper::image::validate::{self, Document};
use cooper::image::{Descriptor, Digest, ImageConfig, Index, Manifest};
use cooper::layer::{Entry, Kind};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What stands at a path of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Type, mode, owner and so on.
    pub entry: Entry,
    /// Content, of a file.
    pub content: Vec<u8>,
}

/// An image that passed every check.
#[derive(Debug)]
pub struct Image {
    /// Digest of the manifest.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
    /// The entries of each layer, lowest first.
    pub layers: Vec<Vec<(Entry, Vec<u8>)>>,
}

impl Image {
    /// Reads the image of this name from a layout; every digest, size and diff id is compared.
    #[track_caller]
    pub fn named(layout: &Path, name: &str) -> Image {
        let index: Index = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        let is_named = |descriptor: &&Descriptor| descriptor.annotations.values().any(|value| value == name);
        let found = index.manifests.iter().find(is_named);
        Image::read(layout, found.unwrap_or_else(|| panic!("no image `{name}` in {index:?}")))
    }

    /// Reads the only image of a layout.
    #[track_caller]
    pub fn only(layout: &Path) -> Image {
        let index: Index = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        assert_eq!(index.manifests.len(), 1, "{index:?}");
        Image::read(layout, &index.manifests[0])
    }

    #[track_caller]
    fn read(layout: &Path, descriptor: &Descriptor) -> Image {
        let document = validate::document(&blob(layout, descriptor), &descriptor.media_type).unwrap();
        let manifest = match document {
            Document::Manifest(manifest) => manifest,
            Document::Index(index) => return Image::read(layout, &index.manifests[0]),
        };
        let config = validate::config(&blob(layout, &manifest.config), &manifest.config).unwrap();
        validate::image(&manifest, &config).unwrap();
        let mut layers = Vec::new();
        for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            let bytes = blob(layout, layer);
            let mut tar = Vec::new();
            std::io::copy(&mut cooper::layer::decompress(&bytes[..]).unwrap(), &mut tar).unwrap();
            assert_eq!(Digest::of(&tar).to_string(), diff_id.to_string(), "diff id of a layer");
            layers.push(read_tar(&tar[..]));
        }
        Image { digest: descriptor.digest, manifest, config, layers }
    }

    /// Returns the files that a container would see.
    pub fn files(&self) -> BTreeMap<PathBuf, Node> {
        let mut files: BTreeMap<PathBuf, Node> = BTreeMap::new();
        for layer in &self.layers {
            for (entry, _) in layer {
                if let Some(hidden) = hidden_by(&entry.path) {
                    files.retain(|path, _| !hidden.hides(path));
                }
            }
            for (entry, content) in layer.iter().filter(|(entry, _)| hidden_by(&entry.path).is_none()) {
                let content = match &entry.kind {
                    Kind::Hardlink { target } => files[target].content.clone(),
                    Kind::Directory => Vec::new(),
                    _ => content.clone(),
                };
                if entry.kind != Kind::Directory {
                    files.retain(|path, _| !path.starts_with(&entry.path));
                }
                files.insert(entry.path.clone(), Node { entry: entry.clone(), content });
            }
        }
        files
    }

    /// Returns the content of a file as text.
    #[track_caller]
    pub fn text(&self, path: &str) -> String {
        let files = self.files();
        let node = files.get(Path::new(path)).unwrap_or_else(|| panic!("no `{path}` among {:?}", files.keys()));
        String::from_utf8(node.content.clone()).unwrap()
    }

    /// Whether the image has something at a path.
    pub fn has(&self, path: &str) -> bool {
        self.files().contains_key(Path::new(path))
    }

    /// Returns what the layers above the first `skip` say, a line an entry: type, mode, owner, path and content.
    pub fn listing(&self, skip: usize) -> String {
        self.layers.iter().skip(skip).map(|layer| list(layer)).collect::<Vec<_>>().join("--\n")
    }
}

/// Returns one line an entry: `f 0644 0:0 etc/motd "hello\n"`.
pub(crate) fn list(entries: &[(Entry, Vec<u8>)]) -> String {
    entries.iter().map(|(entry, content)| format!("{}\n", line(entry, content))).collect()
}

fn line(entry: &Entry, content: &[u8]) -> String {
    let (letter, rest) = match &entry.kind {
        Kind::Directory => ('d', String::new()),
        Kind::File { .. } => ('f', format!(" {:?}", String::from_utf8_lossy(content))),
        Kind::Symlink { target } => ('l', format!(" -> {}", target.to_string_lossy())),
        Kind::Hardlink { target } => ('h', format!(" = {}", target.display())),
        Kind::CharDevice { major, minor } => ('c', format!(" {major}:{minor}")),
        Kind::BlockDevice { major, minor } => ('b', format!(" {major}:{minor}")),
        Kind::Fifo => ('p', String::new()),
        Kind::Whiteout | Kind::Opaque => ('o', String::new()),
    };
    format!("{letter} {:04o} {}:{} {}{rest}", entry.mode, entry.uid, entry.gid, entry.path.display())
}

enum Hidden {
    Tree(PathBuf),
    Below(PathBuf),
}

impl Hidden {
    fn hides(&self, path: &Path) -> bool {
        match self {
            Hidden::Tree(top) => path.starts_with(top),
            Hidden::Below(top) => path != top && path.starts_with(top),
        }
    }
}

fn hidden_by(path: &Path) -> Option<Hidden> {
    let name = path.file_name()?.to_str()?.strip_prefix(".wh.")?;
    let parent = path.parent()?;
    Some(if name == ".wh..opq" { Hidden::Below(parent.into()) } else { Hidden::Tree(parent.join(name)) })
}

#[track_caller]
fn blob(layout: &Path, descriptor: &Descriptor) -> Vec<u8> {
    let content = fs::read(layout.join("blobs/sha256").join(descriptor.digest.hex())).unwrap();
    assert_eq!((Digest::of(&content), content.len() as u64), (descriptor.digest, descriptor.size_bytes), "a blob");
    content
}
