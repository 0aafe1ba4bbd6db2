#pragma warning disable CA1812, CA1822, CA1852, CS0169, CS0649, IDE0044, IDE0051
namespace BnService.Api.Tests.Architecture.Referred
{
    internal class Known : Exception
    {
        public static int Number => 1;
    }

    internal interface IKnown;

    [AttributeUsage(AttributeTargets.All)]
    internal sealed class KnownAttribute : Attribute;
}

namespace BnService.Api.Tests.Architecture.Referring
{
    internal sealed class ByBase : Referred.Known;

    internal sealed class ByInterface : Referred.IKnown;

    internal sealed class ByField
    {
        private Dictionary<string, Referred.IKnown[]>? _field;
    }

    internal sealed class ByParameter
    {
        public void Call(ref Referred.IKnown? known) => known = null;
    }

    internal sealed class ByConstraint
    {
        public void Call<T>()
            where T : Referred.IKnown
        {
        }
    }

    internal sealed class ByAttribute
    {
        [Referred.Known]
        public int Number { get; set; }
    }

    internal sealed class ByLocal
    {
        public string Call(object value)
        {
            var known = value as Referred.IKnown;
            return $"{known}{known}";
        }
    }

    internal sealed class ByCall
    {
        public int Call() => Referred.Known.Number;
    }

    internal sealed class ByTypeOf
    {
        public Type Call() => typeof(Referred.Known);
    }

    internal sealed class ByArgumentOfGeneric
    {
        public int Call() => Enumerable.Empty<Referred.IKnown>().Count();
    }

    internal sealed class ByCatch
    {
        public int Call(Func<int> call)
        {
            try
            {
                return call();
            }
            catch (Referred.Known)
            {
                return 0;
            }
        }
    }

    internal sealed class ByLambda
    {
        public Func<int> Call() => () => Referred.Known.Number;
    }

    internal sealed class BehindASwitch
    {
        public int Call(int number) => number switch { 0 => 7, 1 => 9, 2 => 4, 3 => 1, 4 => 8, _ => Referred.Known.Number };
    }

    internal sealed class ByAsync
    {
        public async Task<int> Call()
        {
            await Task.Yield();
            return Referred.Known.Number;
        }
    }
}
