// 64-bit fields of an ioctl's struct as pairs of numbers, where bigints would cost more than the call: an address as its page
// number (which a double holds) and the offset within that page.
import type { Command } from './command.js';

/** Page numbers that the upper half of a word stands for, per unit. */
const PAGES_PER_HIGH = 2 ** 20;

export function pageAt(command: Command, at: number): number {
  return command.get(at + 4) * PAGES_PER_HIGH + (command.get(at) >>> 12);
}
export function offsetAt(command: Command, at: number): number {
  return command.get(at) & 0xfff;
}
/** Writes a number told so back. */
export function setPageAt(command: Command, at: number, page: number, offset: number): void {
  command.set(at, ((page % PAGES_PER_HIGH) << 12) | offset);
  command.set(at + 4, Math.floor(page / PAGES_PER_HIGH));
}
/** 2^64 - 1. */
export function isHighest(command: Command, at: number): boolean {
  return command.get(at) === 0xffff_ffff && command.get(at + 4) === 0xffff_ffff;
}
export function isZero(command: Command, at: number): boolean {
  return command.get(at) === 0 && command.get(at + 4) === 0;
}
/** Pages of a 64-bit address space. */
export const PAGES = 2 ** 52;
