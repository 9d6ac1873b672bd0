// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// A stand-in for the contract that takes any range and any root: the same events, functions and storage.
contract StateSetAnchor {
    struct Commitment {
        bytes32 batchId;
        bytes32 tenantId;
        bytes32 storeId;
        bytes32 eventsRoot;
        bytes32 stateRoot;
        uint64 sequenceStart;
        uint64 sequenceEnd;
        uint32 eventCount;
        uint256 anchoredAt;
        address anchoredBy;
    }

    mapping(bytes32 => Commitment) private commitments; // slot 0
    mapping(bytes32 => uint64) private latestSequence; // slot 1
    bytes32[] private anchoredBatches; // slot 2

    event CommitmentAnchored(
        bytes32 indexed batchId,
        bytes32 indexed tenantId,
        bytes32 storeId,
        bytes32 eventsRoot,
        bytes32 stateRoot,
        uint64 sequenceStart,
        uint64 sequenceEnd,
        uint32 eventCount,
        uint256 timestamp
    );

    function anchor(
        bytes32 batchId,
        bytes32 tenantId,
        bytes32 storeId,
        bytes32 eventsRoot,
        bytes32 stateRoot,
        uint64 sequenceStart,
        uint64 sequenceEnd,
        uint32 eventCount
    ) external {
        require(commitments[batchId].anchoredAt == 0, "batch id used before");
        commitments[batchId] = Commitment(
            batchId, tenantId, storeId, eventsRoot, stateRoot,
            sequenceStart, sequenceEnd, eventCount, block.timestamp, msg.sender
        );
        latestSequence[keccak256(abi.encode(tenantId, storeId))] = sequenceEnd;
        anchoredBatches.push(batchId);
        emit CommitmentAnchored(
            batchId, tenantId, storeId, eventsRoot, stateRoot,
            sequenceStart, sequenceEnd, eventCount, block.timestamp
        );
    }

    function isAnchored(bytes32 batchId) external view returns (bool) {
        return commitments[batchId].anchoredAt != 0;
    }

    function verifyEventsRoot(bytes32 batchId, bytes32 eventsRoot) external view returns (bool) {
        return commitments[batchId].anchoredAt != 0 && commitments[batchId].eventsRoot == eventsRoot;
    }

    function getLatestSequence(bytes32 tenantId, bytes32 storeId) external view returns (uint64) {
        return latestSequence[keccak256(abi.encode(tenantId, storeId))];
    }
}
