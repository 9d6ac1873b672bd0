//! Block headers: from JSON into the bytes that the chain hashes, and what of them matters here.

use alloy::consensus::Header;
use alloy::primitives::{Bytes, keccak256};
use alloy::rlp;
use serde::{Deserialize, Serialize};
use ves::Hash32;

/// What of a header matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub number: u64,
    pub hash: Hash32,
    pub parent: Hash32,
    pub state_root: Hash32,
    pub receipts_root: Hash32,
    pub timestamp: u64,
}

/// A header of the first fork has 15 fields; later forks append theirs.
const FIELDS: usize = 15;

/// No header is longer: extra data is short everywhere but on some test networks.
const MAX_BYTES: usize = 64 << 10;

/// A header as the chain hashes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderBytes {
    /// The block's hash: what keccak256 of the bytes must be.
    pub hash: Hash32,
    /// The header in RLP.
    pub rlp: Bytes,
}

/// The block that these bytes are the header of. Fields that later forks appended are bound by the hash and not looked
/// at.
///
/// # Errors
/// They are no header.
pub(crate) fn read(bytes: &[u8]) -> Result<Block, String> {
    let fields = fields(bytes)?;
    let hash = |at: usize| {
        Hash32::try_from(fields[at])
            .map_err(|_| format!("field {at} of the header has {} bytes", fields[at].len()))
    };
    Ok(Block {
        number: number(fields[8])?,
        hash: Hash32(keccak256(bytes).0),
        parent: hash(0)?,
        state_root: hash(3)?,
        receipts_root: hash(5)?,
        timestamp: number(fields[11])?,
    })
}

/// The bloom filter over all logs of the block with this header.
///
/// # Errors
/// They are no header.
pub(crate) fn bloom(bytes: &[u8]) -> Result<[u8; 256], String> {
    let bloom = fields(bytes)?[6];
    <[u8; 256]>::try_from(bloom).map_err(|_| format!("a bloom filter of {} bytes", bloom.len()))
}

/// The fields that every header has.
fn fields(bytes: &[u8]) -> Result<Vec<&[u8]>, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("a header of {} bytes", bytes.len()));
    }
    let mut rest = bytes;
    let mut list = rlp::Header::decode_bytes(&mut rest, true).map_err(|e| format!("not RLP: {e}"))?;
    if !rest.is_empty() {
        return Err("bytes behind the header".into());
    }
    let mut fields: Vec<&[u8]> = Vec::with_capacity(FIELDS);
    while fields.len() < FIELDS {
        if list.is_empty() {
            return Err(format!("a header of {} fields", fields.len()));
        }
        fields.push(rlp::Header::decode_bytes(&mut list, false).map_err(|e| format!("not RLP: {e}"))?);
    }
    Ok(fields)
}

/// An integer of at most 64 bits as RLP writes it: big-endian, without leading zeros.
pub(super) fn number(bytes: &[u8]) -> Result<u64, String> {
    if bytes.len() > 8 || bytes.first() == Some(&0) {
        return Err("not an integer of 64 bits".into());
    }
    Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// The header of a block as `eth_getBlockByNumber` answers it, of any fork that is known.
///
/// # Errors
/// It is no header, or its hash does not come out: it was altered, or it is of a fork that is not known yet.
pub(crate) fn from_json(json: &str) -> Result<HeaderBytes, String> {
    #[derive(serde::Deserialize)]
    struct Claimed {
        hash: Hash32,
    }
    let Claimed { hash } = serde_json::from_str(json).map_err(|e| format!("not a block: {e}"))?;
    let header: Header = serde_json::from_str(json).map_err(|e| format!("not a block: {e}"))?;
    let bytes = rlp::encode(&header);
    if keccak256(&bytes).0 != hash.0 {
        return Err(format!(
            "the header of block {} does not hash to {hash}: it was altered, or it is of a fork that this version \
             does not know",
            header.number
        ));
    }
    Ok(HeaderBytes {
        hash,
        rlp: Bytes::from(bytes),
    })
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256, Bloom, U256};
    use serde_json::Value;

    use super::*;

    /// A header of each fork: what the fork before it has, and more.
    fn forks() -> Vec<Header> {
        let mut header = Header {
            parent_hash: B256::repeat_byte(1),
            beneficiary: Address::repeat_byte(2),
            logs_bloom: Bloom::repeat_byte(3),
            difficulty: U256::from(17_171_480_576_u64),
            number: 1 << 40,
            gas_limit: 30_000_000,
            timestamp: 1_438_269_988,
            extra_data: Bytes::from_static(b"extra"),
            ..Header::default()
        };
        let mut forks = vec![header.clone()];
        header.base_fee_per_gas = Some(7);
        forks.push(header.clone());
        header.withdrawals_root = Some(B256::repeat_byte(4));
        forks.push(header.clone());
        (header.blob_gas_used, header.excess_blob_gas) = (Some(0), Some(131_072));
        header.parent_beacon_block_root = Some(B256::ZERO);
        forks.push(header.clone());
        header.requests_hash = Some(B256::repeat_byte(5));
        forks.push(header.clone());
        header.block_access_list_hash = Some(B256::repeat_byte(6));
        header.slot_number = Some(9);
        forks.push(header);
        forks
    }

    #[test]
    fn headers_of_all_forks_are_read() {
        for header in forks() {
            let hash = header.hash_slow();
            let mut json = serde_json::to_value(&header).unwrap();
            json["hash"] = format!("{hash}").into();
            json["transactions"] = Value::Array(Vec::new());
            json["totalDifficulty"] = "0x1".into();
            let read_back = from_json(&json.to_string()).unwrap();
            assert_eq!(read_back.hash.0, hash.0);
            let block = read(&read_back.rlp).unwrap();
            assert_eq!((block.number, block.timestamp), (header.number, header.timestamp));
            assert_eq!(block.hash.0, hash.0);
            assert_eq!(block.parent.0, header.parent_hash.0);
            assert_eq!(block.state_root.0, header.state_root.0);
            assert_eq!(block.receipts_root.0, header.receipts_root.0);

            // Any other value of any field has another hash.
            for field in json.as_object().unwrap().keys() {
                if ["hash", "transactions", "totalDifficulty"].contains(&field.as_str()) {
                    continue;
                }
                let mut altered = json.clone();
                let text = altered[field].as_str().unwrap();
                let last = if text.ends_with('1') { "2" } else { "1" };
                altered[field] = format!("{}{last}", &text[..text.len() - 1]).into();
                assert!(from_json(&altered.to_string()).is_err(), "{field}");
            }
        }
    }

    /// Block 436 of Ethereum's main chain, the example in its documentation of eth_getBlockByNumber.
    #[test]
    fn a_real_header_of_the_first_fork_has_its_hash() {
        let empty = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421";
        let json = serde_json::json!({
            "difficulty": "0x4ea3f27bc",
            "extraData": "0x476574682f4c5649562f76312e302e302f6c696e75782f676f312e342e32",
            "gasLimit": "0x1388",
            "gasUsed": "0x0",
            "hash": "0xdc0818cf78f21a8e70579cb46a43643f78291264dda342ae31049421c82d21ae",
            "logsBloom": format!("0x{}", "00".repeat(256)),
            "miner": "0xbb7b8287f3f0a933474a79eae42cbca977791171",
            "mixHash": "0x4fffe9ae21f1c9e15207b1f472d5bbdd68c9595d461666602f2be20daf5e7843",
            "nonce": "0x689056015818adbe",
            "number": "0x1b4",
            "parentHash": "0xe99e022112df268087ea7eafaf4790497fd21dbeeb6bd7a1721df161a6657a54",
            "receiptsRoot": empty,
            "sha3Uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
            "size": "0x220",
            "stateRoot": "0xddc8b0234c2e0cad087c8b389aa7ef01f7d79b2570bccb77ce48648aa61c904d",
            "timestamp": "0x55ba467c",
            "totalDifficulty": "0x78ed983323d",
            "transactions": [],
            "transactionsRoot": empty,
            "uncles": [],
        });
        let block = read(&from_json(&json.to_string()).unwrap().rlp).unwrap();
        assert_eq!((block.number, block.timestamp), (436, 0x55ba_467c));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let good = rlp::encode(&forks()[5]);
        assert!(read(&good).is_ok());
        assert!(read(&[&good[..], &[0]].concat()).is_err());
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err());
        }
        for bad in [&[][..], &[0x80], &[0xc0], &[0xff; 40], &[0xf8, 0xff, 0xff]] {
            assert!(read(bad).is_err());
        }
        assert!(read(&vec![0xc0; MAX_BYTES + 1]).is_err());
        // A later fork may have fields that nobody knows yet.
        let mut payload = rlp::Header::decode_bytes(&mut &good[..], true).unwrap().to_vec();
        payload.extend([0x84, 1, 2, 3, 4]);
        let mut later = Vec::new();
        rlp::Header {
            list: true,
            payload_length: payload.len(),
        }
        .encode(&mut later);
        later.extend(payload);
        assert_eq!(read(&later).unwrap().number, 1 << 40);
        for json in ["{}", "7", "{\"hash\":\"0x00\"}"] {
            assert!(from_json(json).is_err());
        }
    }
}
