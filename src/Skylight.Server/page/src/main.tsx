import 'katex/dist/katex.css';
import './style/base.css';
import './style/layout.css';
import './style/message.css';
import './style/text.css';
import './style/tokens.css';
import './style/dialogs.css';
import './style/server.css';
import { render } from 'preact';
import { start } from './chat/state';
import { App } from './view/App';

render(<App />, document.getElementById('page')!);
void start();
