/** Reads server-sent events from pieces of text that may be cut anywhere; gives the data of those that are complete. */
export class EventReader {
  private rest = '';
  private data: string[] = [];

  push(text: string): string[] {
    const complete: string[] = [];
    this.rest += text;
    for (;;) {
      const match = /\r\n|\n|\r/.exec(this.rest);
      // A carriage return at the end may be the first half of a line end.
      if (!match || (match[0] === '\r' && match.index === this.rest.length - 1)) return complete;
      const line = this.rest.slice(0, match.index);
      this.rest = this.rest.slice(match.index + match[0].length);
      if (line === '') {
        if (this.data.length > 0) complete.push(this.data.join('\n'));
        this.data = [];
      } else if (line.startsWith('data:')) {
        this.data.push(line.slice(line[5] === ' ' ? 6 : 5));
      }
    }
  }
}
