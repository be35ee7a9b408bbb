using System.Globalization;
using Microsoft.AspNetCore.Http;

namespace Skylight.Server;

/// <summary>What a kept response was made of; and those that cannot be cancelled.</summary>
internal sealed partial class ModelService
{
    private const int MostItems = 100, UsualItems = 20;
    private const string Pictures = "message.input_image.image_url";

    /// <summary>
    /// <c>GET /v1/responses/{id}/input_items</c>: the conversation that a response answers, a page at a time; the last item
    /// first, unless <c>order</c> is <c>asc</c>.
    /// </summary>
    public Task ListInputItemsAsync(HttpContext context) => GuardAsync(context, () =>
    {
        StoredResponse response = _responses.Find(IdOf(context)) ?? throw NotKept();
        int limit = UsualItems;
        bool ascends = false, showsPictures = false;
        string? after = null;
        foreach ((string name, Microsoft.Extensions.Primitives.StringValues values) in context.Request.Query)
        {
            string value = values.ToString();
            switch (name)
            {
                case "limit":
                    if (!int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out limit)
                        || limit is < 1 or > MostItems)
                        throw ApiException.BadRequest($"'limit' must be a whole number from 1 to {MostItems}.", name);
                    break;
                case "order":
                    ascends = value == "asc" || (value == "desc" ? false
                        : throw ApiException.BadRequest("'order' must be 'asc' or 'desc'.", name));
                    break;
                case "after":
                    after = value;
                    break;
                case "include" or "include[]":
                    showsPictures = values.All(included => included == Pictures) ? true
                        : throw ApiException.BadRequest($"'include' must be '{Pictures}'.", "include");
                    break;
                default:
                    throw ApiException.BadRequest(
                        "A parameter of the address is not known here; there are 'limit', 'order', 'after' and 'include'.", null,
                        "unknown_parameter");
            }
        }

        KeptItem[] items = [.. response.InputItems];
        if (!ascends)
            Array.Reverse(items);
        int first = after is null ? 0 : Array.FindIndex(items, item => item.Id == after) + 1;
        if (after is not null && first == 0)
            throw ApiException.BadRequest("'after' is the id of no item of this response's input.", "after");
        InputItem[] page = [.. items.Skip(first).Take(limit).Select(item => item.ToBody(showsPictures))];
        return WriteAsync(context, new InputItemList("list", page, page.FirstOrDefault()?.Id, page.LastOrDefault()?.Id,
            first + page.Length < items.Length), ServerJson.Compact.InputItemList);
    });

    /// <summary><c>POST /v1/responses/{id}/cancel</c>: none is made in the background, so none can be cancelled.</summary>
    public Task RefuseCancelAsync(HttpContext context) => GuardAsync(context, () =>
        throw (_responses.Find(IdOf(context)) is null ? NotKept() : ApiException.BadRequest(
            "Cannot cancel a synchronous response: only one that is made with 'background' can be cancelled, and this server " +
            "makes none. Close the connection to end one that is being written.", "id")));
}
