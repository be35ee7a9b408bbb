// Chooses the replica of a request by what its prompt begins with, so that the turns of a conversation, and questions about one picture, find in that
// replica's cache what was read before. Who knows better says so: in the header X-Conversation, or in OpenAI's field prompt_cache_key.
import crypto from 'crypto';

// Of a picture in the body so many characters of both ends are read, and its length: parsing megabytes would keep nginx from everything else.
const ends = 500;

const pictures = ['image_url', 'input_image'];

// The parts that the first question begins with: its pictures, or else its first text. More would part questions about one picture.
function beginningOf(content) {
    if (!Array.isArray(content)) return [content];
    const other = content.findIndex(part => !part || pictures.indexOf(part.type) < 0);
    return content.slice(0, Math.max(1, other < 0 ? content.length : other));
}

function prefixOf(request) {
    const messages = Array.isArray(request.messages) ? request.messages : Array.isArray(request.input) ? request.input : null;
    // A text that goes on, or a question without a conversation.
    if (!messages) return [request.instructions, String(request.prompt || request.input).slice(0, 1000)];
    const first = messages.findIndex(message => !message || (message.role !== 'system' && message.role !== 'developer'));
    const system = messages.slice(0, first < 0 ? messages.length : first).map(message => message.content);
    return [request.instructions].concat(system, first < 0 ? [] : beginningOf((messages[first] || {}).content));
}

// The body with its pictures (data URLs) cut short.
function shortened(body) {
    const pieces = [];
    let from = 0;
    for (let start = body.indexOf('"data:'); start >= 0; start = body.indexOf('"data:', start + 1)) {
        const end = body.indexOf('"', start + 1);
        if (end < 0) break;
        if (end - start > 2 * ends) {
            pieces.push(body.slice(from, start + ends).toString(), `(${end - start})`);
            from = end - ends;
        }
        start = end;
    }
    pieces.push(body.slice(from).toString());
    return pieces.join('');
}

function keyOf(r) {
    const named = r.headersIn['X-Conversation'];
    if (named) return named;
    const body = r.requestBuffer;
    if (!body || body.length === 0) return r.remoteAddress;
    let request;
    try {
        request = JSON.parse(shortened(body));
    } catch (error) {
        // The replica says what is wrong with it.
        return r.remoteAddress;
    }
    if (!request || typeof request !== 'object') return r.remoteAddress;
    if (typeof request.prompt_cache_key === 'string' && request.prompt_cache_key) return request.prompt_cache_key;
    return JSON.stringify(prefixOf(request));
}

function choose(r) {
    r.variables.prefix = crypto.createHash('sha256').update(keyOf(r)).digest('hex');
    r.internalRedirect('@replica');
}

export default { choose };
