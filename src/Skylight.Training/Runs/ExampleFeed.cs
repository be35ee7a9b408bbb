using Skylight.Chat;
using Skylight.Images;
using Skylight.Training.Data;

namespace Skylight.Training.Runs;

/// <summary>
/// Gives a run its examples in the order of the schedule, made into what the method needs. Rows that cannot be used are
/// noted and passed over, until there are too many.
/// </summary>
/// <param name="schedule">The order.</param>
/// <param name="badRows">Gets what cannot be used.</param>
/// <param name="isWanted">Leaves out what is not to be drawn now, without a note: too easy, say.</param>
internal sealed class ExampleFeed(ExampleSchedule schedule, BadRows badRows, Func<TrainingExample, bool> isWanted)
{
    /// <summary>The next place in the schedule: all that a resumed run needs.</summary>
    public long Next { get; set; }

    /// <summary>Takes the next examples.</summary>
    /// <param name="count">How many.</param>
    /// <param name="make">Makes of an example what is needed; what it refuses is a bad row.</param>
    /// <param name="cancellationToken">Stops; <see cref="Next"/> then stands where it stood.</param>
    /// <exception cref="InvalidDataException">There are too many bad rows, or none that is wanted.</exception>
    public async Task<IReadOnlyList<(TrainingExample Example, T Made)>> TakeAsync<T>(int count,
        Func<TrainingExample, CancellationToken, Task<T>> make, CancellationToken cancellationToken)
    {
        var taken = new List<(TrainingExample, T)>(count);
        long next = Next, unwanted = 0;
        while (taken.Count < count)
        {
            (TrainingExample example, next) = await schedule.NextAsync(next, badRows, cancellationToken)
                .ConfigureAwait(false);
            if (!isWanted(example))
            {
                if (++unwanted > 2 * schedule.Count)
                    throw new InvalidDataException(
                        "No row of the data is wanted: all are outside of the difficulties asked for, or solved " +
                        "already. Widen 'difficulty', raise 'grpo.drop_solved', or give other data.");
                continue;
            }

            try
            {
                taken.Add((example, await make(example, cancellationToken).ConfigureAwait(false)));
                unwanted = 0;
            }
            catch (Exception exception)
                when (exception is ArgumentException or ImageException or IOException or UnauthorizedAccessException)
            {
                badRows.Add(example, PlainMessages.Of(exception));
                badRows.ThrowIfOverLimit();
                if (++unwanted > 2 * schedule.Count)
                    throw new InvalidDataException($"No row of the data can be used: {badRows.Rows.FirstOrDefault()}");
            }
        }

        Next = next;
        return taken;
    }
}
