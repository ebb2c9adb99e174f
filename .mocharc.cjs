// What `npm test` runs. Where the addon was not built its own tests, and those of programs on
// emulated machines, cannot be run: they are listed as skipped.
const { existsSync } = require('node:fs');
const path = require('node:path');

const built = existsSync(path.join(__dirname, 'build/Release/iommufd.node'));

module.exports = {
  spec: [
    'dist/test/unit/**/*.test.js',
    ...(built ? ['dist/test/addon/**/*.test.js', 'dist/test/run/**/*.test.js'] : ['dist/test/rig/no-addon.js']),
    'dist/test/conformance/**/*.test.js',
    'dist/test/vfio/**/*.test.js',
    'dist/test/smmuv3/**/*.test.js',
  ],
  require: ['./dist/test/rig/seed.js'],
  reporter: 'dist/test/rig/reporter.js',
  timeout: 60000,
};
