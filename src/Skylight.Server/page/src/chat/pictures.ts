import type { Picture } from '../types';
import { newId } from './conversation';
import { inBytes, scaleFor, sharesOf } from './fit';

/** What skylight serve reads; anything else that the browser can show is turned into PNG. */
const readable = ['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/bmp', 'image/tiff', 'image/x-tga'];

/** Whether a file is one that a question can have. */
export const isPicture = (file: File): boolean =>
  file.type.startsWith('image/') || /\.(?:tga|tiff?|bmp|pnm|ppm|pgm)$/i.test(file.name);

/** A picture as the composer and the store have it. */
export interface Loaded {
  picture: Picture;
  blob: Blob;
}

async function sizeOf(blob: Blob): Promise<{ width: number; height: number } | null> {
  try {
    const bitmap = await createImageBitmap(blob);
    const size = { width: bitmap.width, height: bitmap.height };
    bitmap.close();
    return size;
  } catch {
    return null;
  }
}

/** Takes a file as it is, where the server can read it. Throws an error for people where nobody can. */
export async function load(file: File): Promise<Loaded> {
  if (file.size === 0) throw new Error(`${file.name} is empty.`);
  const size = await sizeOf(file);
  const name = file.name || 'picture';
  const isReadable = readable.includes(file.type) || /\.(?:tga|tiff?|pnm|ppm|pgm)$/i.test(name);
  if (isReadable) {
    // TIFF and TGA have no size here, because browsers do not show them; the server does.
    if (!size && /^image\/(?:png|jpeg|webp|gif|bmp)$/.test(file.type)) throw new Error(`${name} is damaged, or no picture.`);
    return { picture: { id: newId(), name, type: file.type || 'image/x-tga', bytes: file.size, ...size }, blob: file };
  }
  if (!size) throw new Error(`${name} is no picture that this browser or the server can read.`);
  const blob = await drawn(file, 1, 'image/png');
  const note = `Turned into PNG: the server does not read ${file.type || 'this kind'}.`;
  return { picture: { id: newId(), name, type: 'image/png', bytes: blob.size, ...size, note }, blob };
}

async function drawn(blob: Blob, scale: number, type: string, quality?: number): Promise<Blob> {
  const bitmap = await createImageBitmap(blob);
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext('2d')!;
  // What JPEG has no word for is paper.
  if (type === 'image/jpeg') {
    context.fillStyle = '#fff';
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return await new Promise((resolve, reject) =>
    canvas.toBlob(result => (result ? resolve(result) : reject(new Error('The browser cannot write this picture.'))), type, quality));
}

/** A picture of at most so many bytes. */
async function shrunk(blob: Blob, most: number): Promise<Blob> {
  let scale = 1;
  let result = blob;
  for (let attempt = 0; attempt < 8 && result.size > most; attempt++) {
    if (attempt > 0) scale *= scaleFor(result.size, most);
    result = await drawn(blob, scale, 'image/jpeg', 0.9);
  }
  if (result.size > most) throw new Error('A picture cannot be made small enough. Remove one.');
  return result;
}

/**
 * The pictures as a request can have them, and what was done to them in words; empty if nothing was.
 * Throws an error for people if they cannot be made to fit.
 */
export async function fit(loaded: Loaded[], budget: number, maximumBody: number): Promise<{ blobs: Blob[]; note: string }> {
  const shares = sharesOf(loaded.map(each => each.blob.size), budget);
  if (!shares) return { blobs: loaded.map(each => each.blob), note: '' };
  const blobs: Blob[] = [];
  const notes: string[] = [];
  for (const [index, { picture, blob }] of loaded.entries()) {
    const most = shares[index]!;
    if (blob.size <= most) {
      blobs.push(blob);
      continue;
    }
    if (most < 4096)
      throw new Error(`The pictures of this conversation do not fit into the server's ${inBytes(maximumBody)}, even smaller ones. ` +
        'Begin a new conversation, or remove some.');
    if (!picture.width) throw new Error(`${picture.name} is too large for the server, and this browser cannot make it smaller.`);
    const smaller = await shrunk(blob, most);
    const size = await sizeOf(smaller);
    notes.push(`${picture.name} from ${picture.width} × ${picture.height} to ${size?.width} × ${size?.height}`);
    blobs.push(smaller);
  }
  return { blobs, note: `Made smaller to fit the server's limit of ${inBytes(maximumBody)} a request: ${notes.join(', ')}.` };
}

export function dataUrlOf(blob: Blob, type: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result as string);
    reader.onerror = () => reject(new Error('A picture can no longer be read.'));
    reader.readAsDataURL(blob.type ? blob : new Blob([blob], { type }));
  });
}
