// player.js - plays all stems together on one clock, exact to the sample, looped or not.
//
// Every stem is a source that is started at the same frame of the AudioContext and loops between the same
// frames. A change (a loop, another take) stops all sources at one frame to come and starts new ones there.

export const RATE = 44100;
const AHEAD = 0.06; // seconds from a command to the frame where it is heard

const decibels = db => 10 ** (db / 20);

// A stem's way from its sound to the master: solo and mute, gain, pan.
function strip(ctx, to) {
  const gate = ctx.createGain(), gain = ctx.createGain(), pan = ctx.createStereoPanner();
  gate.connect(gain).connect(pan).connect(to);
  return { gate, gain, pan };
}

export class Player {
  constructor() {
    this.channels = new Map(); // name -> {buffer, gain, pan, mute, solo, nodes, source}
    this.loop = { on: false, from: 0, to: 0 }; // frames
    this.playing = false;
    this.from = 0; // frame of the piece that was heard at this.at
    this.at = 0;   // frame of the clock
    this.volume = -6;
    this.onchange = () => {};
  }

  // Made at the first sound: browsers want a click before it.
  context() {
    if (this.ctx) return this.ctx;
    this.ctx = new AudioContext({ sampleRate: RATE, latencyHint: 'interactive' });
    this.master = this.ctx.createGain();
    this.analyser = this.ctx.createAnalyser();
    this.analyser.fftSize = 2048;
    this.master.gain.value = decibels(this.volume);
    this.master.connect(this.analyser).connect(this.ctx.destination);
    for (const c of this.channels.values()) c.nodes = strip(this.ctx, this.master);
    this.settle(true);
    return this.ctx;
  }

  decode(bytes) {
    return new OfflineAudioContext(2, 1, RATE).decodeAudioData(bytes);
  }

  channel(name) {
    let c = this.channels.get(name);
    if (!c) {
      c = { buffer: null, gain: 0, pan: 0, mute: false, solo: false };
      if (this.ctx) c.nodes = strip(this.ctx, this.master);
      this.channels.set(name, c);
      this.settle();
    }
    return c;
  }

  setBuffer(name, buffer) {
    this.channel(name).buffer = buffer;
    if (this.playing) this.restart();
    this.onchange();
  }

  set(name, values) {
    Object.assign(this.channel(name), values);
    this.settle();
    this.onchange();
  }

  setVolume(db) {
    this.volume = db;
    this.settle();
  }

  heard(c) {
    const soloed = [...this.channels.values()].some(x => x.solo);
    return soloed ? c.solo : !c.mute;
  }

  settle(now = false) {
    if (!this.ctx) return;
    const to = (param, v) => now ? param.value = v : param.setTargetAtTime(v, this.ctx.currentTime, 0.008);
    to(this.master.gain, decibels(this.volume));
    for (const c of this.channels.values()) {
      to(c.nodes.gate.gain, this.heard(c) ? 1 : 0);
      to(c.nodes.gain.gain, decibels(c.gain));
      to(c.nodes.pan.pan, c.pan);
    }
  }

  frames() { return Math.max(0, ...[...this.channels.values()].map(c => c.buffer?.length || 0)); }
  seconds() { return this.frames() / RATE; }
  looping() { return this.loop.on && this.loop.to > this.loop.from; }

  // The frame of the piece that is heard at a frame of the clock.
  frameAt(clock) {
    const f = this.from + Math.max(0, clock - this.at), { from, to } = this.loop;
    if (!this.looping() || this.from >= to || f < to) return f;
    return from + (f - from) % (to - from);
  }

  position() {
    if (!this.playing) return this.from / RATE;
    return this.frameAt(Math.round(this.ctx.currentTime * RATE)) / RATE;
  }

  // The frame of the clock at which a change that is made now is heard.
  soon(ahead = AHEAD) { return Math.ceil((this.ctx.currentTime + ahead) * RATE); }

  // All sources anew at one frame of the clock, where frame `from` of the piece is heard. When the page
  // was held up so long that the frame has passed, some may have missed it: once more, further ahead.
  begin(clock, from, ahead = AHEAD) {
    this.schedule(clock, from);
    if (this.ctx.currentTime * RATE + 256 < clock || ahead > 2) return;
    const later = this.soon(2 * ahead);
    this.begin(later, this.frameAt(later), 2 * ahead);
  }

  schedule(clock, from) {
    this.at = clock;
    this.from = from;
    for (const c of this.channels.values()) {
      c.source?.stop(clock / RATE);
      c.source = null;
      if (!c.buffer || (from >= c.buffer.length && !this.looping())) continue;
      const s = c.source = this.ctx.createBufferSource();
      s.buffer = c.buffer;
      s.loop = this.looping() && from < this.loop.to && this.loop.to <= c.buffer.length;
      s.loopStart = this.loop.from / RATE;
      s.loopEnd = this.loop.to / RATE;
      s.connect(c.nodes.gate);
      s.start(clock / RATE, from / RATE);
    }
  }

  restart() {
    const clock = this.soon();
    this.begin(clock, this.frameAt(clock));
  }

  async play() {
    const ctx = this.context();
    await ctx.resume();
    if (this.playing) return;
    if (this.from >= this.frames()) this.from = 0;
    this.playing = true;
    this.begin(this.soon(), this.from);
    this.onchange();
  }

  pause() {
    if (!this.playing) return;
    this.from = Math.min(Math.round(this.position() * RATE), this.frames());
    this.playing = false;
    for (const c of this.channels.values()) { c.source?.stop(); c.source = null; }
    this.onchange();
  }

  toggle() { return this.playing ? this.pause() : this.play(); }

  seek(seconds) {
    const f = Math.round(Math.min(Math.max(0, seconds), this.seconds()) * RATE);
    if (this.playing) this.begin(this.soon(), f);
    else this.from = f;
    this.onchange();
  }

  setLoop(on, from, to) {
    const clock = this.playing ? this.soon() : 0;
    const here = this.playing ? this.frameAt(clock) : this.from;
    this.loop = { on, from: Math.round(from * RATE), to: Math.min(Math.round(to * RATE), this.frames() || Infinity) };
    if (this.playing) this.begin(clock, this.looping() && here >= this.loop.to ? this.loop.from : here);
    this.onchange();
  }

  // Called at each picture: a piece that does not loop ends.
  tick() {
    if (!this.playing || this.looping() || this.position() < this.seconds()) return;
    this.pause();
    this.from = 0;
    this.onchange();
  }

  level() {
    if (!this.analyser || !this.playing) return -Infinity;
    const x = new Float32Array(this.analyser.fftSize);
    this.analyser.getFloatTimeDomainData(x);
    return 20 * Math.log10(Math.max(...x.map(Math.abs)));
  }

  // What is heard, as an AudioBuffer: the loop's part when it is on.
  async render() {
    const from = this.looping() ? this.loop.from : 0, to = this.looping() ? this.loop.to : this.frames();
    const off = new OfflineAudioContext(2, to - from, RATE), master = off.createGain();
    master.gain.value = decibels(this.volume);
    master.connect(off.destination);
    for (const c of this.channels.values()) {
      if (!c.buffer || !this.heard(c)) continue;
      const nodes = strip(off, master), s = off.createBufferSource();
      nodes.gain.gain.value = decibels(c.gain);
      nodes.pan.pan.value = c.pan;
      s.buffer = c.buffer;
      s.connect(nodes.gate);
      s.start(0, from / RATE);
    }
    return off.startRendering();
  }

  close() {
    this.pause();
    this.ctx?.close();
  }
}
