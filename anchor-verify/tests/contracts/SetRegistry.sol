// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// A stand-in for the contract that takes only what continues its last batch: the same events, functions and storage.
contract SetRegistry {
    struct BatchCommitment {
        bytes32 eventsRoot;
        bytes32 newStateRoot;
        uint64 sequenceStart;
        uint64 sequenceEnd;
        uint32 eventCount;
        uint64 timestamp;
    }

    mapping(address => bool) private authorizedSequencers; // slot 0
    mapping(bytes32 => BatchCommitment) private commitments; // slot 1
    mapping(bytes32 => bytes32) private latest; // slot 2

    event BatchCommitted(
        bytes32 indexed batchId,
        bytes32 indexed tenantStoreKey,
        bytes32 eventsRoot,
        bytes32 newStateRoot,
        uint64 sequenceStart,
        uint64 sequenceEnd,
        uint32 eventCount
    );

    error StateRootMismatch();
    error SequenceGap();

    function commitBatch(
        bytes32 batchId,
        bytes32 tenantId,
        bytes32 storeId,
        bytes32 eventsRoot,
        bytes32 prevStateRoot,
        bytes32 newStateRoot,
        uint64 sequenceStart,
        uint64 sequenceEnd,
        uint32 eventCount
    ) external {
        require(commitments[batchId].timestamp == 0, "batch id used before");
        bytes32 key = keccak256(abi.encodePacked(tenantId, storeId));
        BatchCommitment storage last = commitments[latest[key]];
        if (last.timestamp != 0) {
            if (last.newStateRoot != prevStateRoot) revert StateRootMismatch();
            if (last.sequenceEnd + 1 != sequenceStart) revert SequenceGap();
        }
        commitments[batchId] = BatchCommitment(
            eventsRoot, newStateRoot, sequenceStart, sequenceEnd, eventCount, uint64(block.timestamp)
        );
        latest[key] = batchId;
        emit BatchCommitted(batchId, key, eventsRoot, newStateRoot, sequenceStart, sequenceEnd, eventCount);
    }

    function batchExists(bytes32 batchId) external view returns (bool) {
        return commitments[batchId].timestamp != 0;
    }

    function getLatestBatchId(bytes32 tenantId, bytes32 storeId) external view returns (bytes32) {
        return latest[keccak256(abi.encodePacked(tenantId, storeId))];
    }
}

/// An ERC-1967 proxy: the registry's state is here, its code elsewhere.
contract Proxy {
    bytes32 private constant IMPLEMENTATION = 0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;

    constructor(address implementation) {
        assembly {
            sstore(IMPLEMENTATION, implementation)
        }
    }

    fallback() external payable {
        assembly {
            calldatacopy(0, 0, calldatasize())
            let ok := delegatecall(gas(), sload(IMPLEMENTATION), 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            switch ok
            case 0 { revert(0, returndatasize()) }
            default { return(0, returndatasize()) }
        }
    }
}
