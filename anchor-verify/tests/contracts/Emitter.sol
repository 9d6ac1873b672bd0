// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// Writes whatever log it is told to: what a decoy, or a contract with a fault, could do.
contract Emitter {
    function emitLog(bytes32 topic0, bytes32 topic1, bytes32 topic2, bytes calldata data) external {
        bytes memory copy = data;
        assembly {
            log3(add(copy, 32), mload(copy), topic0, topic1, topic2)
        }
    }
}
