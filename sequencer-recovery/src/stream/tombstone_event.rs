//! What a tombstone looks like as an event. docs/tombstone.md has it in words.

use ves::digest::Preimage;
use ves::{Event, EventId, StreamKey};

/// `event_type` of a tombstone.
pub const EVENT_TYPE: &str = "recovery.tombstone";

/// `entity_type` of a tombstone; its `entity_id` is the position in decimal digits.
pub const ENTITY_TYPE: &str = "recovery.loss";

/// A tombstone's id: the first 16 bytes of SHA-256(`SEQUENCER_RECOVERY_TOMBSTONE_V1` ‖ tenant ‖ store ‖ u64 position),
/// marked as a UUID of version 8.
pub fn event_id(stream: &StreamKey, position: u64) -> EventId {
    let digest = Preimage::new("SEQUENCER_RECOVERY_TOMBSTONE_V1")
        .bytes(stream.tenant_id.as_bytes())
        .bytes(stream.store_id.as_bytes())
        .u64(position)
        .finish();
    let mut id = [0; 16];
    id.copy_from_slice(&digest.0[..16]);
    EventId(uuid::Uuid::new_v8(id))
}

/// Whether an event is a tombstone for the position that it has. That it is validly signed is another question.
pub fn is_tombstone(event: &Event, position: u64) -> bool {
    event.event_type == EVENT_TYPE
        && event.entity_type == ENTITY_TYPE
        && event.event_id == event_id(&event.stream, position)
        && event.entity_id == position.to_string()
}
