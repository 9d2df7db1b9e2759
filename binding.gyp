# A thin shim: `npm rebuild`, node-gyp and tools that look for this file run the CMake build of CMakeLists.txt, which
# is the only list of sources. The "install" script of package.json keeps npm from calling node-gyp by itself.
{
  "targets": [
    {
      "target_name": "rewardlens",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/Release/rewardlens.node.phony"],
          "action": ["npm", "run", "build:native"]
        }
      ]
    }
  ]
}
