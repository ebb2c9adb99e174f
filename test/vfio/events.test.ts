// What happens to a device itself: the host wants it back, its bus reported an error.
import assert from 'node:assert/strict';
import { codeOfAsync } from '../rig/codes.js';
import { refused } from '../rig/suite.js';
import { vfioCases } from '../rig/vfio.js';

const needs = 'edu';
/** edu is a conventional PCI device. */
const NO_ERRORS = 'tells of errors only where the device is of PCI Express';

vfioCases('vfio-events', (test) => {
  test('request', 'the host asks for the device, and gets it when it is closed', { needs }, async (t) => {
    const nic = t.bound('edu');
    const events = nic.events();
    const back = t.requestBack('edu');
    const { value } = await events.next();
    assert.equal(value?.type, 'request');
    nic.close();
    assert.deepEqual(await events.next(), { done: true, value: undefined });
    await back;
    await t.giveBack('edu');
    const again = t.bound('edu');
    assert.equal(again.interrupts('request').count, 1);
  });
  test('error', 'errors are told as such', { needs }, async (t) => {
    t.notOn('6.12', NO_ERRORS);
    const nic = t.bound('edu');
    const events = nic.events();
    nic.interrupts('error').trigger();
    assert.deepEqual(await events.next(), { done: false, value: { type: 'error', count: 1n } });
    nic.interrupts('request').trigger();
    nic.interrupts('request').trigger();
    assert.deepEqual(await events.next(), { done: false, value: { type: 'request', count: 2n } });
  });
  test('left', 'leaving a loop loses nothing', { needs }, async (t) => {
    t.notOn('6.12', NO_ERRORS);
    const nic = t.bound('edu');
    for (const type of ['error', 'request'] as const) {
      const events = nic.events();
      if (type === 'error') {
        nic.interrupts('error').trigger();
        nic.interrupts('request').trigger();
      }
      for await (const event of events) {
        assert.deepEqual(event, { type, count: 1n });
        break;
      }
    }
  });
  test('one-at-a-time', 'has one reader at a time, and ends with its signal', { needs }, async (t) => {
    const nic = t.bound('edu');
    const stop = new AbortController();
    const next = nic.events({ signal: stop.signal }).next();
    refused('ERR_IOMMUFD_BUSY', () => nic.events());
    stop.abort(Object.assign(new Error('enough'), { code: 'ENOUGH' }));
    assert.equal(await codeOfAsync(next), 'ENOUGH');
    const waiting = nic.events();
    const last = waiting.next();
    await waiting.return?.();
    assert.deepEqual(await last, { done: true, value: undefined });
    nic.events();
  });
  test('taken', 'cannot be had while the interrupts are used otherwise', { needs }, (t) => {
    const nic = t.bound('edu');
    nic.interrupts('request').enable();
    refused('ERR_IOMMUFD_BUSY', () => nic.events());
    refused('EINVAL', () => nic.interrupts('error').trigger());
    nic.interrupts('request').disable();
    nic.events();
  });
  test('none', 'a device that tells of neither says so', { needs: 'serial' }, (t) => {
    refused('ERR_IOMMUFD_UNAVAILABLE', () => t.bound('serial').events());
  });
});
