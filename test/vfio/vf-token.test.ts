// The token between a physical function and its virtual ones (drivers/vfio/pci/vfio_pci_core.c).
import assert from 'node:assert/strict';
import { refused } from '../rig/suite.js';
import { vfioCases } from '../rig/vfio.js';

const TOKEN = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const OTHER = '00112233-4455-6677-8899-aabbccddeeff';
/** The bytes of the first, in the order of its text. */
const BYTES = Uint8Array.from([
  0x83, 0xb8, 0xf4, 0xf2, 0x50, 0x9f, 0x38, 0x2f, 0x3c, 0x1e, 0xe6, 0xbf, 0xe0, 0xfa, 0x10, 0x01,
]);

vfioCases('vf-token', (test) => {
  test(
    'wanted',
    'a virtual function is bound with the token of its physical one alone',
    { needs: ['sriov', 'vf'] },
    (t) => {
      t.notOn('6.12', 'wants no token of who binds to an iommufd');
      t.bound('sriov').features.setVfToken(TOKEN);
      const vf = t.open('vf');
      refused('EACCES', () => vf.bind(t.iommufd));
      refused('EACCES', () => vf.bind(t.iommufd, { vfToken: OTHER }));
      assert.equal(vf.bind(t.iommufd, { vfToken: TOKEN }).destroyed, false);
    },
  );

  test('bytes', 'a token may be its bytes, and can be changed', { needs: ['sriov', 'vf'] }, (t) => {
    const { features } = t.bound('sriov');
    features.setVfToken(OTHER);
    const vf = t.open('vf');
    refused('EACCES', () => vf.bind(t.iommufd, { vfToken: BYTES }));
    features.setVfToken(BYTES);
    assert.equal(vf.bind(t.iommufd, { vfToken: BYTES }).destroyed, false);
  });

  test('cannot-be-read', 'a token is set, never told', { needs: 'sriov' }, (t) => {
    const { features } = t.bound('sriov');
    assert.deepEqual(features.probe('pci-vf-token'), { name: 'pci-vf-token', get: false, set: true });
  });

  test(
    'physical',
    'a physical function with a user of a virtual one wants the token too',
    { needs: ['sriov', 'vf'] },
    (t) => {
      const pf = t.bound('sriov');
      pf.features.setVfToken(TOKEN);
      t.open('vf').bind(t.iommufd, { vfToken: TOKEN });
      pf.close();
      const again = t.open('sriov');
      refused('EACCES', () => again.bind(t.iommufd));
      refused('EACCES', () => again.bind(t.iommufd, { vfToken: OTHER }));
      assert.equal(again.bind(t.iommufd, { vfToken: TOKEN }).destroyed, false);
    },
  );

  test('none', 'a device without virtual functions has no token, and takes none', { needs: 'edu' }, (t) => {
    const error = refused('ENOTTY', () => t.bound('edu').features.setVfToken(TOKEN));
    assert.match(error.message, /SR-IOV/);
    assert.doesNotMatch(error.message, /83b8f4f2/);
  });

  test('malformed', 'what is no UUID is refused before the kernel is asked', { needs: 'edu' }, (t) => {
    const { features } = t.bound('edu');
    for (const wrong of ['', 'xyz', `${TOKEN}0`, TOKEN.replaceAll('-', ''), new Uint8Array(15)]) {
      assert.throws(() => features.setVfToken(wrong), RangeError);
    }
    assert.throws(() => features.setVfToken(7 as unknown as string), TypeError);
  });
});
