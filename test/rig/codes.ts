// What a promise came to, as an error's code.

/** The code it was rejected with, or 'ok'. */
export async function codeOfAsync(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
  return 'ok';
}
