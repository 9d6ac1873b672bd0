//! What client, scheduler and executor must have in common: functions, codec, sizes.

use std::sync::Arc;

use ballista_core::extension::SessionConfigExt;
use ballista_core::utils::default_session_builder;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::prelude::SessionConfig;
use datafusion_proto::physical_plan::PhysicalExtensionCodec;

use super::codec::Codec;
use crate::functions;

/// The largest message between any two: a plan with its anchors, or a report.
pub(super) const MAX_MESSAGE: u32 = 512 << 20;

/// The port of a scheduler, where none is named.
pub(super) const DEFAULT_PORT: u16 = 50050;

/// How sessions are set.
pub(super) fn config() -> SessionConfig {
    SessionConfig::new_with_ballista()
        .with_ballista_grpc_client_max_message_size(MAX_MESSAGE as usize)
        .with_ballista_physical_extension_codec(codec())
}

/// How plans travel.
pub(super) fn codec() -> Arc<dyn PhysicalExtensionCodec> {
    Arc::new(Codec::default())
}

/// A session with Ballista's rules, and our functions.
pub(super) fn state(config: SessionConfig) -> Result<SessionState> {
    let mut state = default_session_builder(config)?;
    functions::register(&mut state)?;
    Ok(state)
}
