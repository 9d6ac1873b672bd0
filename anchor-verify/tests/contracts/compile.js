// Compiles the contracts beside it and prints {"<contract>": "0x<creation code>"}.
// Run in the folder that scripts/setup-evm installed solc into: node compile.js <folder of the contracts>
const fs = require("fs");
const path = require("path");
const solc = require(path.join(process.cwd(), "node_modules", "solc"));

const folder = process.argv[2];
const sources = {};
for (const name of fs.readdirSync(folder).filter((name) => name.endsWith(".sol")).sort()) {
  sources[name] = { content: fs.readFileSync(path.join(folder, name), "utf8") };
}
const settings = {
  optimizer: { enabled: true, runs: 200 },
  evmVersion: "paris",
  viaIR: true,
  outputSelection: { "*": { "*": ["evm.bytecode.object"] } },
};
const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
const errors = (output.errors || []).filter((error) => error.severity === "error");
if (errors.length > 0) {
  console.error(errors.map((error) => error.formattedMessage).join("\n"));
  process.exit(1);
}
const compiled = {};
for (const file of Object.values(output.contracts)) {
  for (const [name, contract] of Object.entries(file)) {
    compiled[name] = "0x" + contract.evm.bytecode.object;
  }
}
console.log(JSON.stringify(compiled));
