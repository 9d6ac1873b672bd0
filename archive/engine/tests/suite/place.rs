//! A world, its log as a file, and its archive as a folder.

use std::path::PathBuf;

use anchor_verify::verify::DbSource;
use archive_format::write::{WriteOptions, write};
use archive_format::{Archive, Store, Task};
use cli_common::{Cancel, DbTarget, NoProgress};
use event_log::Scope;
use fixtures::{World, WorldSpec};
use tempfile::TempDir;

pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) folder: TempDir,
}

impl Place {
    /// A world, written in two parts, into small files with small row groups.
    pub(crate) fn new(spec: &WorldSpec) -> Self {
        let world = World::generate(spec);
        let folder = tempfile::tempdir().unwrap();
        world
            .write_recovered(&folder.path().join("recovered.db"))
            .unwrap();
        world.write_log(&folder.path().join("log.db")).unwrap();
        let place = Self { world, folder };
        place.write("recovered.db");
        place.write("log.db");
        place
    }

    fn write(&self, log: &str) {
        let target = DbTarget::Snapshot(self.folder.path().join(log));
        let mut source = DbSource::open(&target, Scope::default()).unwrap();
        let anchors = self.world.anchors_file();
        let mut options = WriteOptions::new("the log");
        options.anchors = Some(&anchors);
        options.file_rows = 40;
        options.group_rows = 16;
        write(&self.store(), &mut source, &options, &NoProgress, &Cancel::new()).unwrap();
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    pub(crate) fn address(&self) -> String {
        self.root().display().to_string()
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.address()).unwrap()
    }

    pub(crate) fn archive(&self) -> Archive {
        Archive::open(self.store()).unwrap()
    }

    pub(crate) fn task(&self) -> Task {
        let archive = self.archive();
        let anchors = self.world.anchors_file();
        let mut json = Vec::new();
        anchors.write_json(&mut json).unwrap();
        Task {
            address: self.address(),
            manifest: archive.manifest().number,
            manifest_sha256: archive.read_manifest().sha256,
            streams: Vec::new(),
            anchors: Some(String::from_utf8(json).unwrap()),
            standings: Some(anchor_verify::chain::examine(&anchors, None)),
            keys: None,
            sequencer_keys: Vec::new(),
        }
    }
}
