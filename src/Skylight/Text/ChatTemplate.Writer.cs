using System.Text;

namespace Skylight.Text;

public sealed partial record ChatTemplate
{
    /// <summary>
    /// Collects the tokens. Text between two special tokens is encoded at once: cut elsewhere it would get other tokens
    /// than in training.
    /// </summary>
    /// <param name="tokenizer">Null where the text is wanted.</param>
    internal sealed class Writer(ITokenizer? tokenizer)
    {
        private readonly List<int> _tokens = [];
        private readonly StringBuilder _text = new();

        public int ImageTokenCount { get; private set; }

        /// <summary>The text, where there is no tokenizer.</summary>
        public string Spelled => _text.ToString();

        public void Text(string text) => _text.Append(text);

        public void Text(char character) => _text.Append(character);

        public void Special(string token)
        {
            if (tokenizer is null)
            {
                Text(token);
                return;
            }

            Encode();
            _tokens.Add(tokenizer.RequiredTokenId(token));
        }

        /// <summary>
        /// One token where the tokenizer has it, else as the model writes it: plain text, cut together with what
        /// surrounds it.
        /// </summary>
        public void Tag(string tag)
        {
            if (tokenizer?.TokenId(tag) is null)
                Text(tag);
            else
                Special(tag);
        }

        public void Image(int count)
        {
            ImageTokenCount += count;
            Special(SpecialTokens.ImageStart);
            if (tokenizer is null)
            {
                _text.Insert(_text.Length, SpecialTokens.ImageContext, count);
                Text(SpecialTokens.ImageEnd);
                return;
            }

            int context = tokenizer.RequiredTokenId(SpecialTokens.ImageContext);
            _tokens.EnsureCapacity(_tokens.Count + count + 1);
            for (int i = 0; i < count; i++)
                _tokens.Add(context);
            Special(SpecialTokens.ImageEnd);
        }

        /// <summary>Ends the text so far and says how many tokens there are.</summary>
        public int Cut()
        {
            Encode();
            return _tokens.Count;
        }

        public int[] Finish()
        {
            Encode();
            return [.. _tokens];
        }

        private void Encode()
        {
            if (_text.Length == 0 || tokenizer is null)
                return;
            _tokens.AddRange(tokenizer.Encode(_text.ToString()));
            _text.Clear();
        }
    }
}
