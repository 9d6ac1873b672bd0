//! Values as people and programs read them: ids as UUIDs, bytes as hex digits, times as RFC 3339.

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Field, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    SchemaRef, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::columns;

/// The names of columns, each of them once: a name that is there again gets a number.
pub fn names(schema: &SchemaRef) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for field in schema.fields() {
        let mut name = field.name().clone();
        let mut next = 2;
        while names.contains(&name) {
            name = format!("{}_{next}", field.name());
            next += 1;
        }
        names.push(name);
    }
    names
}

/// The cells of a row as text. NULL is `-`.
pub fn cells(rows: &RecordBatch, row: usize) -> Vec<String> {
    values(rows, row).map(|value| in_words(&value)).collect()
}

/// A row as a JSON object.
pub fn object(names: &[String], rows: &RecordBatch, row: usize) -> Map<String, Value> {
    names.iter().cloned().zip(values(rows, row)).collect()
}

fn values(rows: &RecordBatch, row: usize) -> impl Iterator<Item = Value> {
    let schema = rows.schema_ref();
    schema
        .fields()
        .iter()
        .zip(rows.columns())
        .map(move |(field, column)| value(field, column, row))
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// A value as JSON. Numbers that JSON does not have are text.
fn value(field: &Field, array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float16 => number(array.as_primitive::<Float16Type>().value(row).to_f64()),
        DataType::Float32 => number(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => number(array.as_primitive::<Float64Type>().value(row)),
        DataType::FixedSizeBinary(_) => bytes(field, array.as_fixed_size_binary().value(row)),
        DataType::Binary => hex::encode(array.as_binary::<i32>().value(row)).into(),
        DataType::LargeBinary => hex::encode(array.as_binary::<i64>().value(row)).into(),
        DataType::BinaryView => hex::encode(array.as_binary_view().value(row)).into(),
        DataType::List(of) => list(of, &array.as_list::<i32>().value(row)),
        DataType::LargeList(of) => list(of, &array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(of, _) => list(of, &array.as_fixed_size_list().value(row)),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            columns
                .map(|(field, column)| (field.name().clone(), value(field, column, row)))
                .collect()
        }
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            match dictionary.normalized_keys().get(row) {
                Some(key) => value(field, dictionary.values(), *key),
                None => Value::Null,
            }
        }
        _ => formatted(array, row),
    }
}

fn list(of: &Field, values: &dyn Array) -> Value {
    (0..values.len()).map(|row| value(of, values, row)).collect()
}

fn number(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

fn bytes(field: &Field, bytes: &[u8]) -> Value {
    match Uuid::from_slice(bytes) {
        Ok(id) if columns::is_uuid(field) => id.to_string().into(),
        _ => hex::encode(bytes).into(),
    }
}

/// Text, times, decimals and all else, as Arrow writes them.
fn formatted(array: &dyn Array, row: usize) -> Value {
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(array, &options).and_then(|format| format.value(row).try_to_string());
    Value::String(text.unwrap_or_else(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
    use datafusion::arrow::datatypes::Schema;
    use serde_json::json;

    use super::*;
    use crate::session;

    #[tokio::test]
    async fn values_are_as_json_has_them() {
        let context = session::for_tests();
        let sql = "select 1 as a, cast(null as int) as b, 'x' as c, x'00ff' as d, [1, null] as e, named_struct('f', 1.5) as f, \
                   true as g, arrow_cast('y', 'Dictionary(Int32, Utf8)') as h, cast('nan' as double) as i, \
                   timestamp '2026-01-02T03:04:05.000006Z' as j, 18446744073709551615 as k, cast(1.10 as decimal(5, 2)) as l";
        let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
        let names = names(rows[0].schema_ref());
        let expected = json!({
            "a": 1, "b": null, "c": "x", "d": "00ff", "e": [1, null], "f": {"f": 1.5}, "g": true, "h": "y", "i": "NaN",
            "j": "2026-01-02T03:04:05.000006", "k": 18_446_744_073_709_551_615_u64, "l": "1.10",
        });
        assert_eq!(Value::Object(object(&names, &rows[0], 0)), expected);
        assert_eq!(cells(&rows[0], 0)[..3], ["1", "-", "x"]);
    }

    #[test]
    fn names_that_are_there_twice_are_told_apart() {
        let columns: [ArrayRef; 4] = [
            Arc::new(Int64Array::from(vec![1])),
            Arc::new(StringArray::from(vec!["x"])),
            Arc::new(Float64Array::from(vec![0.5])),
            Arc::new(Int64Array::from(vec![2])),
        ];
        let fields = ["a", "a", "a_2", "a"].iter().zip(&columns);
        let fields: Vec<Field> = fields
            .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
            .collect();
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into()).unwrap();
        let names = names(rows.schema_ref());
        assert_eq!(names, ["a", "a_2", "a_2_2", "a_3"]);
        assert_eq!(object(&names, &rows, 0).len(), 4);
    }
}
