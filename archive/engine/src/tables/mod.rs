//! An archive as tables: exactly the objects that its newest manifest names.
//!
//! | table | what it is |
//! |---|---|
//! | `events` | the events with their receipts ([`archive_format::events::SCHEMA`]) |
//! | `commitments` | of each batch the latest row ([`archive_format::tables::COMMITMENTS`]) |
//! | `keys` | the agents' keys ([`archive_format::tables::KEYS`]) |
//! | `anchors` | the anchors as they were given ([`archive_format::tables::ANCHORS`]) |
//! | `files` | what the manifest says of the objects with events |
//!
//! What a query reads is not held against the hashes of the manifest: whoever doubts the objects verifies the archive.

mod commitments;
mod files;
mod objects;
mod ranges;

use std::sync::Arc;

use archive_format::manifest::ObjectRef;
use archive_format::tables::{ANCHORS, COMMITMENTS, KEYS};
use archive_format::{Manifest, Store, events};
use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use objects::{Object, ObjectsTable};
use ranges::Ranges;

/// Registers the tables of an archive.
pub(crate) async fn register(context: &SessionContext, store: &Store, manifest: &Manifest) -> Result<()> {
    let url = objects::register_store(context, store)?;
    let table = |schema, objects| ObjectsTable::new(url.clone(), schema, objects);
    let plain =
        |refs: &[ObjectRef]| -> Vec<Object> { refs.iter().map(|object| Object::of(store, object)).collect() };
    let event_objects = manifest.streams.iter().flat_map(|stream| &stream.files);
    let event_objects = event_objects
        .map(|file| Object::new(store, &file.path, file.bytes, file.rows))
        .collect();
    let events = table(Arc::clone(&events::SCHEMA), event_objects).with_ranges(Ranges::of(manifest));
    context.register_table("events", Arc::new(events))?;
    context.register_table(
        "keys",
        Arc::new(table(
            Arc::clone(&KEYS),
            plain(std::slice::from_ref(&manifest.keys)),
        )),
    )?;
    context.register_table(
        "anchors",
        Arc::new(table(Arc::clone(&ANCHORS), plain(&manifest.anchors))),
    )?;
    let rows = table(Arc::clone(&COMMITMENTS), plain(&manifest.commitments));
    context.register_table("commitments", commitments::latest(context, rows).await?)?;
    context.register_table("files", files::table(manifest)?)?;
    Ok(())
}
