//! Receipts: from JSON into the bytes of the receipts trie, the root over all of a block, and the logs in them.

use alloy::primitives::{Address, B256, Bytes, Log, LogData, U256, logs_bloom};
use alloy::rlp::{self, Encodable};
use alloy_trie::root::ordered_trie_root_encoded;
use serde::Deserialize;
use ves::Hash32;

use super::header::number;

/// The type of OP-stack deposit transactions. Their receipts may have two fields more.
const DEPOSIT: u8 = 0x7e;

/// The last type that there can be: a byte above it begins a list. Receipts of all types are tried in the standard
/// encoding, those of chains that nobody knows here too: the receipts root says whether that was right.
const LAST_TYPE: u8 = 0x7f;

/// A log in its place in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlacedLog {
    /// Whether its transaction succeeded.
    pub success: bool,
    pub address: [u8; 20],
    pub topics: Vec<[u8; 32]>,
    pub data: Bytes,
}

/// The root of the receipts trie.
pub(crate) fn root(receipts: &[Bytes]) -> Hash32 {
    Hash32(ordered_trie_root_encoded(receipts).0)
}

/// The logs of all receipts of a block: a log's place in the result is its `logIndex`.
///
/// # Errors
/// A receipt that cannot be read.
pub(crate) fn logs(receipts: &[Bytes]) -> Result<Vec<PlacedLog>, String> {
    let mut logs = Vec::new();
    for (index, receipt) in receipts.iter().enumerate() {
        read(receipt, &mut logs).map_err(|why| format!("receipt {index}: {why}"))?;
    }
    Ok(logs)
}

fn read(bytes: &[u8], logs: &mut Vec<PlacedLog>) -> Result<(), String> {
    let not = |e: rlp::Error| format!("not RLP: {e}");
    // A list begins with 0xc0 or more, a type is 0x7f or less.
    let mut rest = match bytes.first() {
        None => return Err("it is empty".into()),
        Some(0xc0..) => bytes,
        Some(1..=LAST_TYPE) => &bytes[1..],
        Some(kind) => return Err(format!("its type {kind:#x} is none")),
    };
    let mut fields = rlp::Header::decode_bytes(&mut rest, true).map_err(not)?;
    if !rest.is_empty() {
        return Err("bytes behind it".into());
    }
    // Before Byzantium the first field is a state root of 32 bytes, from which no success can be told.
    let success = rlp::Header::decode_bytes(&mut fields, false).map_err(not)? == [1];
    number(rlp::Header::decode_bytes(&mut fields, false).map_err(not)?)?;
    if rlp::Header::decode_bytes(&mut fields, false).map_err(not)?.len() != 256 {
        return Err("its bloom filter does not have 256 bytes".into());
    }
    let mut list = rlp::Header::decode_bytes(&mut fields, true).map_err(not)?;
    while !list.is_empty() {
        let mut log = rlp::Header::decode_bytes(&mut list, true).map_err(not)?;
        let address = rlp::Header::decode_bytes(&mut log, false).map_err(not)?;
        let address = address
            .try_into()
            .map_err(|_| "a log whose address does not have 20 bytes")?;
        let mut topic_list = rlp::Header::decode_bytes(&mut log, true).map_err(not)?;
        let mut topics = Vec::new();
        while !topic_list.is_empty() {
            let topic = rlp::Header::decode_bytes(&mut topic_list, false).map_err(not)?;
            topics.push(
                topic
                    .try_into()
                    .map_err(|_| "a log with a topic that does not have 32 bytes")?,
            );
            if topics.len() > 4 {
                return Err("a log with more than 4 topics".into());
            }
        }
        let data = Bytes::copy_from_slice(rlp::Header::decode_bytes(&mut log, false).map_err(not)?);
        if !log.is_empty() {
            return Err("a log with more than three fields".into());
        }
        logs.push(PlacedLog {
            success,
            address,
            topics,
            data,
        });
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptJson {
    #[serde(rename = "type", default)]
    kind: Option<U256>,
    #[serde(default)]
    status: Option<U256>,
    #[serde(default)]
    root: Option<Bytes>,
    cumulative_gas_used: U256,
    #[serde(default)]
    logs_bloom: Option<Bytes>,
    logs: Vec<LogJson>,
    block_hash: Hash32,
    transaction_index: U256,
    #[serde(default)]
    deposit_nonce: Option<U256>,
    #[serde(default)]
    deposit_receipt_version: Option<U256>,
    /// Celo's.
    #[serde(default)]
    base_fee: Option<U256>,
}

#[derive(Deserialize)]
struct LogJson {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
}

/// A receipt out of JSON: which block it is of, its place there, and its bytes.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub block_hash: Hash32,
    pub index: u64,
    pub bytes: Bytes,
    /// Another way to write it: some chains append a field.
    pub alternative: Option<Bytes>,
}

/// The receipts of a block in their order, written so that they give its root; `None` if no way is known to.
pub(crate) fn fitting(mut encoded: Vec<Encoded>, root: &Hash32) -> Option<Vec<Bytes>> {
    encoded.sort_by(|a, b| (a.index, &a.bytes).cmp(&(b.index, &b.bytes)));
    encoded.dedup_by(|a, b| (a.index, &a.bytes) == (b.index, &b.bytes));
    let complete = |count: usize| {
        let places = encoded.iter().take(count).enumerate();
        places.into_iter().all(|(at, receipt)| receipt.index == at as u64)
    };
    let standard = |receipt: &Encoded| receipt.bytes.clone();
    let appended = |receipt: &Encoded| receipt.alternative.as_ref().unwrap_or(&receipt.bytes).clone();
    // On chains of bor's kind nodes add a receipt of state that came from elsewhere, which is not in the trie.
    let without_last = encoded.len().checked_sub(1);
    for count in std::iter::once(encoded.len()).chain(without_last) {
        if !complete(count) {
            continue;
        }
        for way in [&standard as &dyn Fn(&Encoded) -> Bytes, &appended] {
            let receipts: Vec<Bytes> = encoded.iter().take(count).map(way).collect();
            if self::root(&receipts) == *root {
                return Some(receipts);
            }
        }
    }
    None
}

/// A receipt as `eth_getBlockReceipts` and `eth_getTransactionReceipt` answer it.
///
/// # Errors
/// It is no receipt, or of a type that is not known.
pub(crate) fn from_json(json: &str) -> Result<Encoded, String> {
    let receipt: ReceiptJson = serde_json::from_str(json).map_err(|e| format!("not a receipt: {e}"))?;
    let kind = receipt.kind.unwrap_or_default();
    let kind = u8::try_from(kind).ok().filter(|kind| *kind <= LAST_TYPE);
    let kind = kind.ok_or_else(|| {
        format!(
            "a receipt of type {}, which is none",
            receipt.kind.unwrap_or_default()
        )
    })?;
    let logs: Vec<Log> = receipt
        .logs
        .into_iter()
        .map(|log| Log {
            address: log.address,
            data: LogData::new_unchecked(log.topics, log.data),
        })
        .collect();
    let bloom = match receipt.logs_bloom {
        Some(bloom) => bloom,
        None => Bytes::copy_from_slice(logs_bloom(&logs).as_slice()),
    };
    let outcome = match (receipt.status, receipt.root) {
        (Some(status), _) if status <= U256::from(1) => {
            if status.is_zero() {
                Bytes::new()
            } else {
                Bytes::from_static(&[1])
            }
        }
        (None, Some(root)) => root,
        _ => return Err("a receipt without a status".into()),
    };
    let mut fields = Vec::new();
    outcome.encode(&mut fields);
    receipt.cumulative_gas_used.encode(&mut fields);
    bloom.encode(&mut fields);
    logs.encode(&mut fields);
    // Before Canyon nodes name the nonce, and the trie does not have it; since then it has both.
    if let (DEPOSIT, Some(version)) = (kind, receipt.deposit_receipt_version) {
        receipt.deposit_nonce.unwrap_or_default().encode(&mut fields);
        version.encode(&mut fields);
    }
    let alternative = receipt.base_fee.filter(|_| kind != 0).map(|base_fee| {
        let mut fields = fields.clone();
        base_fee.encode(&mut fields);
        with_type(kind, &fields)
    });
    let index = u64::try_from(receipt.transaction_index).map_err(|_| "a transactionIndex out of range")?;
    Ok(Encoded {
        block_hash: receipt.block_hash,
        index,
        bytes: with_type(kind, &fields),
        alternative,
    })
}

/// A receipt of this type with these fields.
fn with_type(kind: u8, fields: &[u8]) -> Bytes {
    let mut bytes = if kind == 0 { Vec::new() } else { vec![kind] };
    rlp::Header {
        list: true,
        payload_length: fields.len(),
    }
    .encode(&mut bytes);
    bytes.extend(fields);
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sample(kind: &str) -> Value {
        json!({
            "type": kind,
            "status": "0x1",
            "cumulativeGasUsed": "0xb741",
            "logs": [],
            "logsBloom": format!("0x{}", "00".repeat(256)),
            "blockHash": format!("0x{}", "07".repeat(32)),
            "transactionIndex": "0x0",
        })
    }

    fn encoded(json: &Value) -> String {
        hex::encode(&from_json(&json.to_string()).unwrap().bytes)
    }

    #[test]
    fn types_are_the_first_byte() {
        let legacy = encoded(&sample("0x0"));
        // status, gas, bloom, no logs
        assert_eq!(legacy, format!("f901080182b741b90100{}c0", "00".repeat(256)));
        for kind in 1..=4 {
            assert_eq!(
                encoded(&sample(&format!("{kind:#x}"))),
                format!("0{kind}{legacy}")
            );
        }
        let mut failed = sample("0x2");
        failed["status"] = "0x0".into();
        assert!(encoded(&failed).starts_with("02f9010880"));
        let mut no_type = sample("0x0");
        no_type.as_object_mut().unwrap().remove("type");
        assert_eq!(encoded(&no_type), legacy);
        for other in [0x05, 0x64, 0x78, 0x7b, 0x7f] {
            assert_eq!(
                encoded(&sample(&format!("{other:#x}"))),
                format!("{other:02x}{legacy}")
            );
        }
        for bad in ["0x80", "0xc0", "0x102"] {
            assert!(from_json(&sample(bad).to_string()).is_err(), "{bad}");
        }
    }

    #[test]
    fn deposits_have_their_nonce_in_the_trie_since_canyon_only() {
        let bloom = "00".repeat(256);
        let mut deposit = sample("0x7e");
        assert_eq!(encoded(&deposit), format!("7ef901080182b741b90100{bloom}c0"));
        // Regolith: nodes name the nonce, the trie does not have it.
        deposit["depositNonce"] = "0x3d3bbf".into();
        assert_eq!(encoded(&deposit), format!("7ef901080182b741b90100{bloom}c0"));
        deposit["depositReceiptVersion"] = "0x1".into();
        let canyon = encoded(&deposit);
        assert_eq!(canyon, format!("7ef9010d0182b741b90100{bloom}c0833d3bbf01"));
        assert_eq!(logs(&[hex::decode(canyon).unwrap().into()]), Ok(vec![]));
        // Other types have no such fields, whatever is said of them.
        deposit["type"] = "0x2".into();
        assert_eq!(encoded(&deposit), format!("02f901080182b741b90100{bloom}c0"));
    }

    /// Receipts of chains that append a field, or name one more than the trie has: the root says which way is right.
    #[test]
    fn the_root_decides_how_receipts_are_written() {
        let at = |index: u64, kind: &str| {
            let mut receipt = sample(kind);
            receipt["transactionIndex"] = format!("{index:#x}").into();
            receipt["cumulativeGasUsed"] = format!("{:#x}", 21_000 * (index + 1)).into();
            receipt
        };
        let read = |all: &[&Value]| -> Vec<Encoded> {
            all.iter()
                .map(|json| from_json(&json.to_string()).unwrap())
                .collect()
        };
        // Celo appends the base fee to its own type; other types have none.
        let mut celo = at(1, "0x7b");
        celo["baseFee"] = "0x5".into();
        let plain = at(0, "0x2");
        let (standard, appended) = (from_json(&celo.to_string()).unwrap().bytes, {
            let mut payload =
                rlp::Header::decode_bytes(&mut &from_json(&celo.to_string()).unwrap().bytes[1..], true)
                    .unwrap()
                    .to_vec();
            payload.push(5);
            with_type(0x7b, &payload)
        });
        let first = from_json(&plain.to_string()).unwrap().bytes;
        for bytes in [standard, appended] {
            let set = vec![first.clone(), bytes];
            assert_eq!(fitting(read(&[&celo, &plain]), &root(&set)), Some(set.clone()));
            assert_eq!(logs(&set), Ok(vec![]));
        }
        // The last receipt of a block of bor's kind is of no transaction.
        let state = at(2, "0x0");
        let set = vec![first.clone(), from_json(&at(1, "0x2").to_string()).unwrap().bytes];
        assert_eq!(
            fitting(read(&[&plain, &at(1, "0x2"), &state]), &root(&set)),
            Some(set)
        );
        // What does not give the root is nothing, whatever is left out of it.
        assert_eq!(fitting(read(&[&plain, &celo]), &Hash32([1; 32])), None);
        assert_eq!(fitting(read(&[&celo]), &root(&[first])), None);
        assert_eq!(fitting(Vec::new(), &root(&[])), Some(Vec::new()));
    }

    #[test]
    fn receipts_before_byzantium_have_no_status() {
        let mut old = sample("0x0");
        old.as_object_mut().unwrap().remove("status");
        assert!(from_json(&old.to_string()).is_err());
        old["root"] = format!("0x{}", "09".repeat(32)).into();
        old["logs"] = json!([{"address": format!("0x{}", "01".repeat(20)), "topics": [], "data": "0x"}]);
        let bytes = from_json(&old.to_string()).unwrap().bytes;
        let read = logs(&[bytes]).unwrap();
        assert_eq!((read.len(), read[0].success), (1, false));
    }

    #[test]
    fn logs_are_read_back_in_their_places() {
        let log = |n: u8| {
            json!({
                "address": format!("0x{}", hex::encode([n; 20])),
                "topics": [format!("0x{}", hex::encode([n; 32]))],
                "data": "0x0102",
            })
        };
        let mut first = sample("0x2");
        first["logs"] = json!([log(1), log(2)]);
        // A client may leave the bloom filter out: it follows from the logs.
        first.as_object_mut().unwrap().remove("logsBloom");
        let mut second = sample("0x0");
        second["status"] = "0x0".into();
        second["logs"] = json!([log(3)]);
        let bytes = |json: &Value| from_json(&json.to_string()).unwrap().bytes;
        let read = logs(&[bytes(&first), bytes(&second)]).unwrap();
        let places: Vec<_> = read
            .iter()
            .map(|log| (log.address[0], log.topics[0][0], log.success))
            .collect();
        assert_eq!(places, [(1, 1, true), (2, 2, true), (3, 3, false)]);
        assert_eq!(read[0].data.as_ref(), [1, 2]);
    }

    #[test]
    fn what_is_no_receipt_is_refused_without_a_panic() {
        let mut json = sample("0x2");
        json["logs"] = json!([{
            "address": format!("0x{}", "01".repeat(20)),
            "topics": [format!("0x{}", "02".repeat(32))],
            "data": "0x0102",
        }]);
        let good = from_json(&json.to_string()).unwrap().bytes;
        assert!(logs(std::slice::from_ref(&good)).is_ok());
        for cut in 0..good.len() {
            assert!(logs(&[good.slice(..cut)]).is_err(), "{cut}");
        }
        for at in 0..good.len() {
            let mut altered = good.to_vec();
            altered[at] ^= 0x81;
            let _ = logs(&[altered.into()]);
        }
        let longer = [&good[..], &[0]].concat();
        assert!(logs(&[longer.into()]).is_err());
        for first in [0x00, 0x80, 0xbf] {
            let mut other = good.to_vec();
            other[0] = first;
            assert!(logs(&[other.into()]).is_err(), "{first:#x}");
        }
        for json in ["{}", "7", "[]"] {
            assert!(from_json(json).is_err());
        }
    }
}
