using System.Collections.Immutable;
using System.Reflection.Emit;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;

namespace BnService.Api.Tests.Architecture;

/// <summary>A type of a built assembly that is in no other type, with the types in it and its namesakes of other parameters.</summary>
/// <param name="Namespace">Its namespace.</param>
/// <param name="Name">Its name without the number of its parameters.</param>
/// <param name="References">Full names of the types that its declarations, signatures, attributes and method bodies refer to.</param>
internal sealed record BuiltType(string Namespace, string Name, IReadOnlySet<string> References)
{
    public string FullName => $"{Namespace}.{Name}";

    /// <summary>The types of an assembly that are written by hand: those that the compiler makes lie in other namespaces.</summary>
    public static IReadOnlyList<BuiltType> In(string file, string rootNamespace)
    {
        using var stream = File.OpenRead(file);
        using var image = new PEReader(stream);
        var reader = new Reader(image);
        return
        [
            .. from handle in reader.Metadata.TypeDefinitions
               let type = reader.Metadata.GetTypeDefinition(handle)
               let name = (Space: reader.Metadata.GetString(type.Namespace), Own: Reader.Plain(reader.Metadata.GetString(type.Name)))
               where type.GetDeclaringType().IsNil && name.Space.StartsWith(rootNamespace, StringComparison.Ordinal)
               group handle by name into handles
               select new BuiltType(handles.Key.Space, handles.Key.Own, handles.SelectMany(reader.ReferencesOf).ToHashSet()),
        ];
    }

    /// <summary>Collects names of types; what a signature is made of is nothing else here.</summary>
    private sealed class Reader(PEReader image) : ISignatureTypeProvider<object?, object?>
    {
        private static readonly Dictionary<int, OperandType> Operands = typeof(OpCodes).GetFields()
            .Select(field => (OpCode)field.GetValue(null)!).ToDictionary(code => code.Value & 0xFFFF, code => code.OperandType);

        private HashSet<string> _names = [];

        public MetadataReader Metadata { get; } = image.GetMetadataReader();

        public static string Plain(string name) => name.Split('`')[0];

        public HashSet<string> ReferencesOf(TypeDefinitionHandle handle)
        {
            _names = [];
            AddType(handle);
            return _names;
        }

        private void AddType(TypeDefinitionHandle handle)
        {
            var type = Metadata.GetTypeDefinition(handle);
            Add(type.BaseType);
            foreach (var implemented in type.GetInterfaceImplementations()) Add(Metadata.GetInterfaceImplementation(implemented).Interface);
            AddAttributes(type.GetCustomAttributes());
            AddConstraints(type.GetGenericParameters());
            foreach (var field in type.GetFields().Select(Metadata.GetFieldDefinition))
            {
                field.DecodeSignature(this, null);
                AddAttributes(field.GetCustomAttributes());
            }
            foreach (var property in type.GetProperties()) AddAttributes(Metadata.GetPropertyDefinition(property).GetCustomAttributes());
            foreach (var method in type.GetMethods().Select(Metadata.GetMethodDefinition))
            {
                method.DecodeSignature(this, null);
                AddAttributes(method.GetCustomAttributes());
                AddConstraints(method.GetGenericParameters());
                foreach (var parameter in method.GetParameters()) AddAttributes(Metadata.GetParameter(parameter).GetCustomAttributes());
                if (method.RelativeVirtualAddress != 0) AddBody(image.GetMethodBody(method.RelativeVirtualAddress));
            }
            foreach (var nested in type.GetNestedTypes()) AddType(nested);
        }

        private void AddBody(MethodBodyBlock body)
        {
            if (!body.LocalSignature.IsNil) Metadata.GetStandaloneSignature(body.LocalSignature).DecodeLocalSignature(this, null);
            foreach (var region in body.ExceptionRegions) Add(region.CatchType);
            for (var code = body.GetILReader(); code.RemainingBytes > 0;)
            {
                var first = code.ReadByte();
                switch (Operands[first == 0xFE ? 0xFE00 | code.ReadByte() : first])
                {
                    case OperandType.InlineNone: break;
                    case OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar: code.Offset++; break;
                    case OperandType.InlineVar: code.Offset += 2; break;
                    case OperandType.InlineI8 or OperandType.InlineR: code.Offset += 8; break;
                    case OperandType.InlineSwitch:
                        var targets = code.ReadInt32();
                        code.Offset += 4 * targets;
                        break;
                    case OperandType.InlineField or OperandType.InlineMethod or OperandType.InlineTok or OperandType.InlineType:
                        Add((EntityHandle)MetadataTokens.Handle(code.ReadInt32()));
                        break;
                    default: code.Offset += 4; break;
                }
            }
        }

        private void AddAttributes(CustomAttributeHandleCollection attributes)
        {
            foreach (var attribute in attributes.Select(Metadata.GetCustomAttribute)) Add(attribute.Constructor);
        }

        private void AddConstraints(GenericParameterHandleCollection parameters)
        {
            foreach (var constraint in parameters.SelectMany(parameter => Metadata.GetGenericParameter(parameter).GetConstraints()))
                Add(Metadata.GetGenericParameterConstraint(constraint).Type);
        }

        private void Add(EntityHandle handle)
        {
            if (handle.IsNil) return;
            switch (handle.Kind)
            {
                case HandleKind.TypeDefinition: GetTypeFromDefinition(Metadata, (TypeDefinitionHandle)handle, 0); break;
                case HandleKind.TypeReference: GetTypeFromReference(Metadata, (TypeReferenceHandle)handle, 0); break;
                case HandleKind.TypeSpecification: GetTypeFromSpecification(Metadata, null, (TypeSpecificationHandle)handle, 0); break;
                case HandleKind.FieldDefinition: Add(Metadata.GetFieldDefinition((FieldDefinitionHandle)handle).GetDeclaringType()); break;
                case HandleKind.MethodDefinition:
                    Add(Metadata.GetMethodDefinition((MethodDefinitionHandle)handle).GetDeclaringType());
                    break;
                case HandleKind.MethodSpecification:
                    var method = Metadata.GetMethodSpecification((MethodSpecificationHandle)handle);
                    method.DecodeSignature(this, null);
                    Add(method.Method);
                    break;
                case HandleKind.MemberReference: Add(Metadata.GetMemberReference((MemberReferenceHandle)handle).Parent); break;
            }
        }

        public object? GetTypeFromDefinition(MetadataReader reader, TypeDefinitionHandle handle, byte rawTypeKind)
        {
            var type = reader.GetTypeDefinition(handle);
            while (type.GetDeclaringType() is { IsNil: false } outer) type = reader.GetTypeDefinition(outer);
            _names.Add($"{reader.GetString(type.Namespace)}.{Plain(reader.GetString(type.Name))}");
            return null;
        }

        public object? GetTypeFromReference(MetadataReader reader, TypeReferenceHandle handle, byte rawTypeKind)
        {
            var type = reader.GetTypeReference(handle);
            while (type.ResolutionScope.Kind == HandleKind.TypeReference)
                type = reader.GetTypeReference((TypeReferenceHandle)type.ResolutionScope);
            _names.Add($"{reader.GetString(type.Namespace)}.{Plain(reader.GetString(type.Name))}");
            return null;
        }

        public object? GetTypeFromSpecification(MetadataReader reader, object? context, TypeSpecificationHandle handle, byte rawTypeKind) =>
            reader.GetTypeSpecification(handle).DecodeSignature(this, null);

        public object? GetArrayType(object? elementType, ArrayShape shape) => null;

        public object? GetByReferenceType(object? elementType) => null;

        public object? GetFunctionPointerType(MethodSignature<object?> signature) => null;

        public object? GetGenericInstantiation(object? genericType, ImmutableArray<object?> typeArguments) => null;

        public object? GetGenericMethodParameter(object? genericContext, int index) => null;

        public object? GetGenericTypeParameter(object? genericContext, int index) => null;

        public object? GetModifiedType(object? modifier, object? unmodifiedType, bool isRequired) => null;

        public object? GetPinnedType(object? elementType) => null;

        public object? GetPointerType(object? elementType) => null;

        public object? GetPrimitiveType(PrimitiveTypeCode typeCode) => null;

        public object? GetSZArrayType(object? elementType) => null;
    }
}
