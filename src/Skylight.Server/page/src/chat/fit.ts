/** What a request has beside its pictures, generously: texts in JSON, data URLs' beginnings. */
export function pictureBudget(maximumBody: number, textCharacters: number): number {
  // A character takes up to three bytes in UTF-8, and line ends and quotes two in JSON.
  const rest = maximumBody - 16_384 - 3 * textCharacters;
  // Base64 writes three bytes as four.
  return Math.max(0, Math.floor((rest / 4) * 3));
}

/**
 * The bytes that each picture may have so that all of them fit: the small ones stay as they are, the large ones share what is left.
 * Null if all fit anyway.
 */
export function sharesOf(sizes: number[], budget: number): number[] | null {
  if (sizes.reduce((sum, size) => sum + size, 0) <= budget) return null;
  let rest = budget;
  let cap = 0;
  const ascending = [...sizes].sort((left, right) => left - right);
  ascending.some((size, index) => {
    cap = Math.floor(rest / (ascending.length - index));
    rest -= size;
    return size > cap;
  });
  return sizes.map(size => Math.min(size, cap));
}

/** How much narrower a picture gets so that its file shrinks to a certain size: bytes go with the area. */
export const scaleFor = (bytes: number, most: number): number => Math.min(1, 0.95 * Math.sqrt(most / bytes));

export function inBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} bytes`;
  if (bytes < 1_000_000) return `${Math.round(bytes / 1000)} kB`;
  return `${(bytes / 1_000_000).toFixed(bytes < 10_000_000 ? 1 : 0)} MB`;
}
