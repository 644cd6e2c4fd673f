// files.js - files made in the page: WAV from samples, a ZIP that stores.

function writer(size) {
  const bytes = new Uint8Array(size), view = new DataView(bytes.buffer);
  let at = 0;
  return {
    bytes,
    text(s) { for (const c of s) bytes[at++] = c.charCodeAt(0); return this; },
    n16(v) { view.setUint16(at, v, true); at += 2; return this; },
    n32(v) { view.setUint32(at, v, true); at += 4; return this; },
    add(b) { bytes.set(b, at); at += b.length; return this; },
  };
}

// An AudioBuffer as a WAV of 16 bits. Louder than full scale is brought down as a whole.
export function wavOf(buffer) {
  const planes = [...Array(buffer.numberOfChannels).keys()].map(c => buffer.getChannelData(c));
  const frames = buffer.length, channels = planes.length, size = frames * channels * 2;
  let peak = 0;
  for (const x of planes) for (let i = 0; i < frames; i++) peak = Math.max(peak, Math.abs(x[i]));
  const scale = peak > 1 ? 1 / peak : 1, out = new Int16Array(frames * channels);
  for (let c = 0; c < channels; c++) for (let i = 0, x = planes[c]; i < frames; i++) out[i * channels + c] = Math.round(x[i] * scale * 32767);
  const head = writer(44).text('RIFF').n32(36 + size).text('WAVEfmt ').n32(16).n16(1).n16(channels)
    .n32(buffer.sampleRate).n32(buffer.sampleRate * channels * 2).n16(channels * 2).n16(16).text('data').n32(size);
  return { blob: new Blob([head.bytes, out], { type: 'audio/wav' }), scale };
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});
function crc32(bytes) {
  let c = ~0;
  for (let i = 0; i < bytes.length; i++) c = CRC[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}

// files: [name, Blob or text]. Nothing is compressed: sound does not shrink.
export async function zipOf(files) {
  const parts = [], entries = [];
  let at = 0;
  for (const [name, content] of files) {
    const data = new Uint8Array(await new Blob([content]).arrayBuffer()), crc = crc32(data);
    const common = w => w.n16(20).n16(0x800).n16(0).n16(0).n16(0x21).n32(crc).n32(data.length).n32(data.length).n16(name.length).n16(0);
    const head = common(writer(30 + name.length).text('PK\x03\x04')).text(name).bytes;
    entries.push(common(writer(46 + name.length).text('PK\x01\x02').n16(20)).n16(0).n16(0).n16(0).n32(0).n32(at).text(name).bytes);
    parts.push(head, data);
    at += head.length + data.length;
  }
  const size = entries.reduce((n, e) => n + e.length, 0);
  const end = writer(22).text('PK\x05\x06').n32(0).n16(entries.length).n16(entries.length).n32(size).n32(at).n16(0).bytes;
  return new Blob([...parts, ...entries, end], { type: 'application/zip' });
}

export function save(blob, name) {
  const a = document.createElement('a');
  a.href = URL.createObjectURL(blob);
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 60000);
}
