//! How [`VerifyExec`] travels: as JSON behind a mark. All else is Ballista's.

use std::sync::Arc;

use anchor_verify::Shard;
use archive_format::task::Task;
use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use serde::{Deserialize, Serialize};

use super::verify_exec::VerifyExec;

/// No message of Ballista's begins like this: its first byte would be a field of a kind that does not exist.
const MARK: &[u8] = b"\x07event-archive.verify/1\0";

/// Ballista's codec, and ours.
#[derive(Debug, Default)]
pub(super) struct Codec(BallistaPhysicalExtensionCodec);

#[derive(Serialize)]
struct Written<'a> {
    task: &'a Task,
    shards: &'a [Shard],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    task: Task,
    shards: Vec<Shard>,
}

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(json) = bytes.strip_prefix(MARK) else {
            return self.0.try_decode(bytes, inputs, context, converter);
        };
        let read: Read = serde_json::from_slice(json).map_err(|error| {
            exec_datafusion_err!("this is no verification that this version knows: {error}")
        })?;
        Ok(Arc::new(VerifyExec::new(Arc::new(read.task), read.shards)))
    }

    fn try_encode(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(verify) = plan.downcast_ref::<VerifyExec>() else {
            return self.0.try_encode(plan, bytes, converter);
        };
        let written = Written {
            task: verify.task(),
            shards: verify.shards(),
        };
        bytes.extend_from_slice(MARK);
        serde_json::to_writer(bytes, &written)
            .map_err(|error| exec_datafusion_err!("a verification cannot be written: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::displayable;
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::prelude::SessionContext;
    use datafusion_proto::physical_plan::{AsExecutionPlan, DefaultPhysicalProtoConverter};
    use datafusion_proto::protobuf::PhysicalPlanNode;

    use super::super::verify_exec::SCHEMA;
    use super::*;

    fn plan() -> VerifyExec {
        let task = Task {
            address: "s3://b/p".to_owned(),
            manifest: 3,
            manifest_sha256: ves::Hash32::ZERO,
            streams: Vec::new(),
            anchors: Some("the anchors".to_owned()),
            standings: None,
            keys: None,
            sequencer_keys: vec![(Some(1), "00".to_owned())],
        };
        let shards = [1, 2].map(|index| Shard { index, of: 7 });
        VerifyExec::new(Arc::new(task), shards.into())
    }

    #[test]
    fn a_verification_travels_and_tells_nothing_of_its_task() {
        let context = SessionContext::new().task_ctx();
        let sent: Arc<dyn ExecutionPlan> = Arc::new(plan());
        let message = PhysicalPlanNode::try_from_physical_plan(Arc::clone(&sent), &Codec::default()).unwrap();
        let came = message
            .try_into_physical_plan(&context, &Codec::default())
            .unwrap();
        let came = came.downcast_ref::<VerifyExec>().unwrap();
        assert_eq!((came.task(), came.shards()), (plan().task(), plan().shards()));
        let shown = displayable(sent.as_ref()).indent(true).to_string();
        assert_eq!(shown.trim(), "VerifyExec: manifest 3, shards 1/7, 2/7");
        // What is Ballista's, or DataFusion's, goes its way.
        let other: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::clone(&SCHEMA)));
        let message = PhysicalPlanNode::try_from_physical_plan(other, &Codec::default()).unwrap();
        assert!(
            message
                .try_into_physical_plan(&context, &Codec::default())
                .unwrap()
                .is::<EmptyExec>()
        );
    }

    #[test]
    fn what_is_no_verification_is_refused() {
        let context = SessionContext::new().task_ctx();
        let decode = |bytes: &[u8]| {
            Codec::default().try_decode(bytes, &[], &context, &DefaultPhysicalProtoConverter {})
        };
        let marked = |json: &str| [MARK, json.as_bytes()].concat();
        for bytes in [
            Vec::new(),
            MARK.to_vec(),
            marked("{}"),
            marked(r#"{"task":{},"shards":[]}"#),
            marked(r#"{"task":1,"shards":[{"index":1,"of":1}],"x":1}"#),
            b"\xff\xff\xff\xff".to_vec(),
        ] {
            assert!(decode(&bytes).is_err(), "{bytes:?}");
        }
    }
}
