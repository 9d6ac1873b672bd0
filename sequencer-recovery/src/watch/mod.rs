//! Watching a log while its sequencer lives: is it still what it was, and does it grow as it must?
//!
//! One [`look`](Watch::look) after another, each in one short reading transaction: what is new is judged as an audit judges it,
//! what is remembered must still stand. What takes longer (outboxes, a node, checkpoints) is somebody else's thread, and
//! only its outcome comes here. Nothing here knows the time but by what it is told, so that a week can be tried in a minute.
//!
//! | file | what it answers |
//! |---|---|
//! | [`memory`] | what is remembered from look to look, and from run to run |
//! | [`rewound`] | whether a stream is less than it was |
//! | [`alarms`] | which problems are open |
//! | [`kept_log`] | by which session the log is looked at |
//! | [`look`] | one look at the log |
//! | [`uncommitted`] | whether a new commitment is right, without reading its rows a second time |
//! | [`scrub`] | how fast old rows are read again, and which are next |
//! | [`anchored`] | what anchors say of the log |
//! | [`outboxes`] | what agents have that the log lacks |
//! | [`jobs`] | work on threads of its own |
//! | [`metrics`] | what is told to Prometheus |
//! | [`serve`] | who asks for it |
//! | [`report`] | what a run says at its end |

pub mod alarms;
pub mod anchored;
pub mod jobs;
pub mod kept_log;
pub mod look;
pub mod memory;
pub mod metrics;
pub mod outboxes;
pub mod report;
pub mod rewound;
pub mod scrub;
pub mod serve;
pub mod uncommitted;

pub use look::{Look, Options, Watch};
