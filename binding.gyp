{
  # The addon makes Linux system calls and encodes nothing: it needs 64-bit little-endian Linux. Elsewhere the target is
  # empty, so that building succeeds and loading says why there is nothing to load.
  'variables': {
    # Compilers to come will find new things to warn of: only checkouts make that an error.
    'warnings_are_errors%': 'false',
  },
  'targets': [
    {
      'target_name': 'iommufd',
      'conditions': [
        ['OS=="linux" and node_byteorder=="little" and target_arch in "x64 arm64 riscv64 loong64 ppc64"', {
          'sources': [
            'native/addon.cc',
            'native/arena.cc',
            'native/args.cc',
            'native/bus_error.cc',
            'native/callback.cc',
            'native/calls.cc',
            'native/environment.cc',
            'native/file_calls.cc',
            'native/files.cc',
            'native/jobs.cc',
            'native/mapping.cc',
            'native/memory.cc',
            'native/mmio_calls.cc',
            'native/peer_calls.cc',
            'native/pool_calls.cc',
            'native/region_calls.cc',
            'native/regions.cc',
            'native/transfer_calls.cc',
            'native/watch_calls.cc',
            'native/watches.cc',
            'native/window_calls.cc',
          ],
          'defines': [
            'NAPI_VERSION=9',
            'NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS',
            'NODE_ADDON_API_DISABLE_DEPRECATED',
            # A worker that is terminated in the midst of a call takes no exception any more: without this, node-addon-api
            # ends the whole process then.
            'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
          ],
          # As system headers, so that the warnings below are about this code alone; relative to build/, where make runs.
          'cflags': [
            '-isystem <!(node -p "\'../\' + require(\'node-addon-api\').include_dir")',
            '-fvisibility=hidden',
            '-Wall',
            '-Wextra',
            '-Wshadow',
            '-Wconversion',
            '-Wformat=2',
          ],
          'cflags_cc!': ['-std=gnu++17', '-std=gnu++20'],
          'cflags_cc': ['-std=c++17', '-Wnon-virtual-dtor', '-Wold-style-cast', '-Woverloaded-virtual'],
          'conditions': [
            ['warnings_are_errors=="true"', { 'cflags': ['-Werror'] }],
          ],
        }, {
          'type': 'none',
        }],
      ],
    },
    {
      # What `iommufd run` loads into programs. It knows Linux's system calls and nothing of Node.
      'target_name': 'iommufd-shim',
      'type': 'shared_library',
      'product_prefix': '',
      'product_extension': 'so',
      'conditions': [
        ['OS=="linux" and node_byteorder=="little" and target_arch in "x64 arm64 riscv64 loong64 ppc64"', {
          'sources': [
            'native/shim/calls.c',
            'native/shim/ends.c',
            'native/shim/fds.c',
            'native/shim/files.c',
            'native/shim/link.c',
            'native/shim/marks.c',
            'native/shim/memory.c',
            'native/shim/pages.c',
            'native/shim/paths.c',
            'native/shim/real.c',
            'native/shim/status.c',
            'native/shim/syscall.c',
            'native/shim/variants.c',
          ],
          # With that, the headers rename the very functions that it defines.
          'defines!': ['_FILE_OFFSET_BITS=64', '_LARGEFILE_SOURCE'],
          'defines': ['_GNU_SOURCE'],
          'cflags': [
            '-std=gnu11',
            '-fvisibility=hidden',
            # It defines what fortified headers define.
            '-U_FORTIFY_SOURCE',
            '-Wall',
            '-Wextra',
            '-Wshadow',
            '-Wconversion',
            '-Wformat=2',
            '-Wstrict-prototypes',
            '-Wmissing-prototypes',
          ],
          'libraries': ['-ldl', '-lpthread'],
          'conditions': [
            ['warnings_are_errors=="true"', { 'cflags': ['-Werror'] }],
          ],
        }, {
          'type': 'none',
        }],
      ],
    },
  ],
}
