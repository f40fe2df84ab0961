/** A process of its own that adds to a counter by compare-and-swap: node cas-child.ts DIRECTORY KEY COUNT. */
import { isStorageError } from '../../../../src/lib/errors.ts';
import { FileObjectStore } from '../../../../src/object/file/file-object-store.ts';

const [directory, key, count] = process.argv.slice(2);
if (directory === undefined || key === undefined) throw new Error('usage: cas-child.ts DIRECTORY KEY COUNT');
const store = await FileObjectStore.open(directory);
for (let done = 0; done < Number(count); ) {
  const object = await store.get(key);
  if (object === null) throw new Error('the counter is gone');
  try {
    await store.put(key, Buffer.from(String(Number(object.body) + 1)), { ifMatch: object.etag });
    done += 1;
    if (done === 1) process.stdout.write('working\n');
  } catch (error) {
    if (!isStorageError(error, 'CONFLICT')) throw error;
  }
}
await store.close();
