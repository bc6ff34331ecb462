//! Where images go: the store, layouts and archives, registries, directories.

mod archive;
mod docker;
mod files;
mod image;
mod layout;
mod registry;

pub use archive::Archive;
pub use image::{Assembled, MediaTypes, assemble, rfc3339};
pub use layout::image_index;

use crate::diag::{Diagnostic, Exit};
use crate::event::{Outcome, Summary, Task};
use crate::exec::request::{Annotation, AnnotationLevel, BuildRequest, OutputKind, OutputSpec};
use crate::exec::{Built, BuiltImage, LayerOptions, Session, View, export_tree, finish_layers, store_failure, view};
use crate::image::{Descriptor, Digest, Reference};
use crate::layer::{Compression, TarWriter};
use crate::snapshot::upper::append_tree;
use layout::LayoutOptions;
use std::collections::BTreeMap;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// What was written.
#[derive(Debug, Default)]
pub struct Written {
    /// What buildx calls the image's id; `None` when no image was written.
    pub image_id: Option<Digest>,
    /// For the last lines of a build.
    pub summary: Summary,
}

/// Refuses, before anything is built, what could not be written afterwards.
pub fn check(request: &BuildRequest) -> Result<(), Diagnostic> {
    for output in &request.outputs {
        let is_pushed = output.push || output.kind == OutputKind::Registry;
        if is_pushed && request.tags.is_empty() && output.names.is_empty() {
            return Err(Diagnostic::error(Exit::Usage, "an image that is pushed needs a name")
                .hint("give one with `-t HOST/NAME:TAG`"));
        }
        request.tags.iter().chain(&output.names).try_for_each(|name| parse_name(name).map(drop))?;
        let parent = output.dest.as_deref().filter(|dest| output.kind != OutputKind::Local && *dest != Path::new("-"));
        let parent = parent.and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
        if let Some(missing) = parent.filter(|parent| !parent.is_dir()) {
            return Err(Diagnostic::error(
                Exit::Usage,
                format!("cannot write to `{}`: no such directory", missing.display()),
            )
            .hint(format!("make it: `mkdir -p {}`", missing.display())));
        }
    }
    Ok(())
}

/// Writes what a build has made to all places that were asked for.
pub fn write(session: &Session, request: &BuildRequest, built: &Built) -> Result<Written, Diagnostic> {
    let names = request.tags.iter().map(|tag| parse_name(tag)).collect::<Result<Vec<_>, _>>()?;
    let outputs = if request.outputs.is_empty() { vec![OutputSpec::store()] } else { request.outputs.clone() };
    let mut written = Written::default();
    for output in &outputs {
        let task = session.reporter().start(task_name(output));
        let result = Output { session, request, built, output, names: &names, task: &task }.write(&mut written);
        task.end(match &result {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed(error.message.clone()),
        });
        result?;
    }
    written.summary.steps_cached = built.steps_cached;
    written.summary.steps_run = built.steps_run;
    Ok(written)
}

fn parse_name(text: &str) -> Result<Reference, Diagnostic> {
    let name: Reference = text.parse().map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
    if name.digest.is_some() {
        return Err(Diagnostic::error(Exit::Usage, format!("a name for an image cannot hold a digest: `{text}`")));
    }
    Ok(name)
}

fn task_name(output: &OutputSpec) -> &'static str {
    match output.kind {
        OutputKind::Oci => "exporting to oci image format",
        OutputKind::Docker => "exporting to docker image format",
        OutputKind::Tar => "exporting to client tarball",
        OutputKind::Local => "exporting to client directory",
        OutputKind::Image | OutputKind::Registry => "exporting to image",
        OutputKind::CacheOnly => "keeping the cache",
    }
}

/// One `--output` of a build.
struct Output<'a> {
    session: &'a Session,
    request: &'a BuildRequest,
    built: &'a Built,
    output: &'a OutputSpec,
    names: &'a [Reference],
    task: &'a Task,
}

impl Output<'_> {
    fn write(&self, written: &mut Written) -> Result<(), Diagnostic> {
        match self.output.kind {
            OutputKind::CacheOnly => Ok(()),
            OutputKind::Tar => self.write_tar(written),
            OutputKind::Local => self.write_local(written),
            OutputKind::Oci | OutputKind::Docker => self.write_layout(written),
            OutputKind::Image => self.write_image(written),
            OutputKind::Registry => {
                let images = self.assemble()?;
                let top = self.push(&images)?;
                self.finish(written, &images, &top)
            }
        }
    }

    /// Names of `-t` and of the output's own `name=`.
    fn names(&self) -> Result<Vec<Reference>, Diagnostic> {
        let own = self.output.names.iter().map(|name| parse_name(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(if own.is_empty() { self.names.to_vec() } else { own })
    }

    fn assemble(&self) -> Result<Vec<Assembled>, Diagnostic> {
        let has = |level| !self.annotations(level).is_empty();
        if self.built.images.len() == 1 && (has(AnnotationLevel::Index) || has(AnnotationLevel::IndexDescriptor)) {
            return Err(Diagnostic::error(Exit::Usage, "index annotations are not supported for a single platform")
                .hint("leave `index:` away, or name several platforms with `--platform`"));
        }
        let is_docker = self.output.oci_media_types == Some(false);
        if is_docker && matches!(self.output.compression, Compression::Zstd(_)) {
            let message = "`compression=zstd` conflicts with `oci-mediatypes=false`: Docker's types know no zstd";
            return Err(Diagnostic::error(Exit::Usage, message));
        }
        let media_types = if is_docker { MediaTypes::Docker } else { MediaTypes::Oci };
        let annotations = self.annotations(AnnotationLevel::Manifest);
        let assemble_one = |image: &BuiltImage| {
            let options = LayerOptions::of(self.output, image.target.epoch);
            let layers = finish_layers(self.session, &image.filesystem, &options, self.task)?;
            Ok(assemble(&image.target, layers, media_types, &annotations))
        };
        self.built.images.iter().map(assemble_one).collect()
    }

    fn annotations(&self, level: AnnotationLevel) -> BTreeMap<String, String> {
        let all = self.request.annotations.iter().chain(&self.output.annotations);
        all.filter(|annotation| annotation.level == level)
            .map(|Annotation { key, value, .. }| (key.clone(), value.clone()))
            .collect()
    }

    fn layout_options(&self) -> Result<LayoutOptions, Diagnostic> {
        let level = if self.built.images.len() == 1 {
            AnnotationLevel::ManifestDescriptor
        } else {
            AnnotationLevel::IndexDescriptor
        };
        Ok(LayoutOptions {
            names: self.names()?,
            descriptor_annotations: self.annotations(level),
            index_annotations: self.annotations(AnnotationLevel::Index),
            docker: self.output.kind == OutputKind::Docker,
        })
    }

    fn write_layout(&self, written: &mut Written) -> Result<(), Diagnostic> {
        if self.output.kind == OutputKind::Docker && self.built.images.len() > 1 {
            return Err(Diagnostic::error(
                Exit::Usage,
                "the docker exporter does not support exporting manifest lists: `type=docker` takes one platform",
            )
            .hint("use `type=oci`, or name one platform with `--platform`"));
        }
        let images = self.assemble()?;
        let options = self.layout_options()?;
        let top = top_descriptor(&images, &options.index_annotations);
        match (&self.output.dest, self.output.kind) {
            (Some(dest), _) => {
                self.write_archive(dest, &images, &options)?;
                written.summary.destinations.push(dest.display().to_string());
            }
            (None, OutputKind::Docker) => {
                let directory = self.session.store().temporary().map_err(store_failure)?;
                let path = directory.path().join("image.tar");
                self.write_archive(&path, &images, &options)?;
                docker::load(&path)?;
                written.summary.destinations.push("the Docker engine".into());
            }
            (None, _) => {
                return Err(Diagnostic::error(Exit::Usage, "`type=oci` needs a destination")
                    .hint("write `-o type=oci,dest=image.tar`, or `dest=-` for standard output"));
            }
        }
        self.finish(written, &images, &top)
    }

    fn write_archive(&self, dest: &Path, images: &[Assembled], options: &LayoutOptions) -> Result<(), Diagnostic> {
        let write = || -> io::Result<()> {
            let mut archive = if self.output.tar { Archive::tar(dest)? } else { Archive::directory(dest)? };
            layout::write_layout(self.session, images, options, &mut archive)?;
            archive.finish()
        };
        write().map_err(|error| write_failure(dest, &error))
    }

    fn write_tar(&self, written: &mut Written) -> Result<(), Diagnostic> {
        let dest = self.destination()?;
        let trees = self.trees()?;
        let write = || -> io::Result<()> {
            let (target, rename) = archive::open_target(&dest)?;
            let mut writer = TarWriter::new(BufWriter::with_capacity(1 << 20, target));
            for (directory, tree, epoch) in &trees {
                append_tree(&mut writer, &tree.root, directory, *epoch).map_err(io::Error::other)?;
            }
            archive::close_target(writer.finish()?, rename)
        };
        write().map_err(|error| write_failure(&dest, &error))?;
        written.summary.destinations.push(dest.display().to_string());
        Ok(())
    }

    fn write_local(&self, written: &mut Written) -> Result<(), Diagnostic> {
        let dest = self.destination()?;
        for (directory, tree, epoch) in self.trees()? {
            let left_out = export_tree(&tree, &dest.join(directory), epoch)?;
            if let Some(first) = left_out.first() {
                let message = format!("{} device nodes are left out of `{}`", left_out.len(), dest.display());
                let warning = Diagnostic::warning(message).note(format!("the first is {first:?}"));
                self.session.reporter().warn(warning.hint("an archive, `type=tar`, holds them"));
            }
        }
        written.summary.destinations.push(dest.display().to_string());
        Ok(())
    }

    /// The root file systems and the directories they are written to: their platforms' names, if there are several or
    /// `platform-split` asks for it, as BuildKit has it; a tar of BuildKit does not hear of `platform-split`.
    /// With a SOURCE_DATE_EPOCH every file gets that time.
    fn trees(&self) -> Result<Vec<(PathBuf, View, Option<i64>)>, Diagnostic> {
        let asked = self.output.platform_split.filter(|_| self.output.kind == OutputKind::Local);
        let is_split = asked.unwrap_or(self.built.images.len() > 1);
        let tree = |image: &BuiltImage| {
            let platform = image.target.platform.to_string().replace('/', "_");
            let directory = if is_split { PathBuf::from(platform) } else { PathBuf::new() };
            Ok((directory, view(self.session, &image.filesystem)?, image.target.epoch))
        };
        self.built.images.iter().map(tree).collect()
    }

    /// Keeps the image in the store, and pushes it where that is asked for.
    fn write_image(&self, written: &mut Written) -> Result<(), Diagnostic> {
        let images = self.assemble()?;
        let store = self.session.store();
        for image in &images {
            store.write_blob(&image.config).map_err(store_failure)?;
            store.write_blob(&image.manifest).map_err(store_failure)?;
        }
        let annotations = self.annotations(AnnotationLevel::Index);
        let top = top_descriptor(&images, &annotations);
        if images.len() != 1 {
            store.write_blob(&image_index(&images, &annotations).1).map_err(store_failure)?;
        }
        store.name_image(&self.names()?, &top).map_err(store_failure)?;
        if self.output.push {
            self.push(&images)?;
        }
        self.finish(written, &images, &top)
    }

    fn push(&self, images: &[Assembled]) -> Result<Descriptor, Diagnostic> {
        let names = self.names()?;
        let top = top_descriptor(images, &self.annotations(AnnotationLevel::Index));
        registry::push(self.session, &names, images, &self.annotations(AnnotationLevel::Index), self.task)?;
        Ok(top)
    }

    fn destination(&self) -> Result<PathBuf, Diagnostic> {
        self.output
            .dest
            .clone()
            .ok_or_else(|| Diagnostic::error(Exit::Usage, "this output needs a destination").hint("add `dest=PATH`"))
    }

    fn finish(&self, written: &mut Written, images: &[Assembled], top: &Descriptor) -> Result<(), Diagnostic> {
        let names: Vec<String> = self.names()?.iter().map(Reference::to_string).collect();
        let id = files::image_id(images, top);
        if let Some(path) = &self.request.iid_file {
            files::write_id(path, &id).map_err(|error| write_failure(path, &error))?;
        }
        if let Some(path) = &self.request.metadata_file {
            files::write_metadata(path, images, top, &names).map_err(|error| write_failure(path, &error))?;
        }
        written.image_id = Some(id);
        written.summary.digest = Some(top.digest.to_string());
        written.summary.size_bytes = images.iter().map(Assembled::size_bytes).sum();
        written.summary.names = names;
        Ok(())
    }
}

/// The manifest of a lone image, the index of several.
fn top_descriptor(images: &[Assembled], index_annotations: &BTreeMap<String, String>) -> Descriptor {
    match images {
        [image] => image.descriptor.clone(),
        _ => image_index(images, index_annotations).0,
    }
}

fn write_failure(path: &Path, error: &io::Error) -> Diagnostic {
    let diagnostic =
        Diagnostic::error(Exit::Step, format!("cannot write `{}`", path.display())).note(error.to_string());
    if error.kind() == io::ErrorKind::StorageFull {
        diagnostic.hint("free some space on that disk; nothing half-written was left")
    } else {
        diagnostic
    }
}
