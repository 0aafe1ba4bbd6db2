# BnService as a container image.
#   docker build -t bnservice .
#   docker run --rm -v bnservice-data:/data bnservice keys create --name first --role admin
#   docker run --rm -p 8080:8080 -v bnservice-data:/data bnservice
# The first run prints the key that calls need; without one the second refuses to start, unless it has -e Auth__Mode=none.
# Without access to an image registry: docker/base-images.sh makes local stand-ins for the base images.

# One tag for both, so that what is published runs on the runtime it was built for.
ARG DOTNET_TAG=10.0
ARG NODE_IMAGE=docker.io/library/node:22-bookworm-slim

# The page is built by itself: a change of the service does not build it again, and the service's SDK needs no Node.js.
FROM ${NODE_IMAGE} AS dashboard
WORKDIR /source/src/Dashboard
COPY src/Dashboard/package.json src/Dashboard/package-lock.json src/Dashboard/.npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY docs/openapi.json /source/docs/
COPY samples/data/wine.csv /source/samples/data/
COPY src/Dashboard ./
RUN npm run --silent build


FROM mcr.microsoft.com/dotnet/sdk:${DOTNET_TAG} AS build
WORKDIR /source

# Only what decides which packages are needed: the restored layer stays valid until one of these files changes.
COPY global.json Directory.*.props .editorconfig ./
COPY src/Core/BnService.Core.csproj src/Core/
COPY src/Api/BnService.Api.csproj src/Api/
RUN dotnet restore src/Api --disable-build-servers

# No apphost: the entry point is `dotnet BnService.Api.dll`, so the published files hold no native launcher.
COPY src/Core src/Core
COPY src/Api src/Api
COPY --from=dashboard /source/src/Api/wwwroot src/Api/wwwroot
RUN dotnet publish src/Api -c Release --no-restore --disable-build-servers -o /app -p:UseAppHost=false -p:BuildDashboard=false -p:ContinuousIntegrationBuild=true
RUN mkdir /data


FROM mcr.microsoft.com/dotnet/aspnet:${DOTNET_TAG} AS final
LABEL org.opencontainers.image.title="BnService" \
      org.opencontainers.image.description="Batch normalization layers as a web service: training steps, inference and gradients"
WORKDIR /app

# Owned by root and not writable by the user below: the service cannot change its own program.
COPY --from=build /app .

# Sessions are kept in a file here: mount a volume to keep them longer than the container, or name a database instead.
COPY --from=build --chown=$APP_UID:$APP_UID /data /data
ENV Storage__Path=/data/bn.db
VOLUME /data

# APP_UID (1654) comes from the base image. A number, not a name: orchestrators can then verify that it is not root.
USER $APP_UID
ENV ASPNETCORE_HTTP_PORTS=8080
EXPOSE 8080
STOPSIGNAL SIGTERM

# The program asks its own /health/ready, so the image needs neither a shell nor curl.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["dotnet", "BnService.Api.dll", "healthcheck"]
ENTRYPOINT ["dotnet", "BnService.Api.dll"]
