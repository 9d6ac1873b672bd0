//! Ids and hashes compared with text: `tenant_id = '6f2…'` means the UUID, `merkle_root = '0x…'` the bytes. They become
//! constants of the column's own type, so that files and row groups are passed over by them.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::sqlparser::ast::BinaryOperator;
use datafusion::logical_expr::{Expr, ExprSchemable};
use uuid::Uuid;

/// Makes bytes of text that is compared with bytes.
#[derive(Debug)]
pub(crate) struct Literals;

impl ExprPlanner for Literals {
    fn plan_binary_op(
        &self,
        mut raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        if matches!(raw.op, Eq | NotEq | Lt | LtEq | Gt | GtEq) {
            if let Some(bytes) = bytes_for(&raw.left, &raw.right, schema)? {
                raw.right = bytes;
            } else if let Some(bytes) = bytes_for(&raw.right, &raw.left, schema)? {
                raw.left = bytes;
            }
        }
        Ok(PlannerResult::Original(raw))
    }
}

/// The text as a value of the type of `beside`, if that is bytes of a fixed width.
fn bytes_for(beside: &Expr, text: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    let Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) = text else {
        return Ok(None);
    };
    let Ok(DataType::FixedSizeBinary(width)) = beside.get_type(schema) else {
        return Ok(None);
    };
    let bytes = match width {
        16 => Uuid::parse_str(text).ok().map(|id| id.into_bytes().to_vec()),
        _ => hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok(),
    };
    match bytes {
        Some(bytes) if usize::try_from(width) == Ok(bytes.len()) => {
            let value = ScalarValue::FixedSizeBinary(width, Some(bytes));
            Ok(Some(Expr::Literal(value, None)))
        }
        _ if width == 16 => plan_err!("'{text}' is compared with an id, and is no UUID"),
        _ => plan_err!("'{text}' is compared with {width} bytes, and is not their hex digits"),
    }
}
