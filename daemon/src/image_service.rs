//! CRI `ImageService`: each RPC is wire, call, wire. What an RPC does is told in `linkspan-image`.

use std::collections::BTreeMap;
use std::sync::Arc;

use linkspan_cri_api::v1;
use linkspan_cri_api::v1::image_service_server::ImageService;
use linkspan_image::{Image, PullRequest};
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::wire::batch::{Batches, batches};
use crate::wire::{image, status};

type Answer<T> = Result<Response<T>, Status>;

/// Serves CRI's images.
pub(crate) struct ImageStore {
    pub(crate) app: App,
}

#[tonic::async_trait]
impl ImageService for ImageStore {
    async fn list_images(&self, request: Request<v1::ListImagesRequest>) -> Answer<v1::ListImagesResponse> {
        let images = self.matching(request.into_inner().filter);
        let images = images.iter().map(|found| image::image(found)).collect();
        Ok(Response::new(v1::ListImagesResponse { images }))
    }

    type StreamImagesStream = Batches<v1::StreamImagesResponse>;

    async fn stream_images(
        &self,
        request: Request<v1::StreamImagesRequest>,
    ) -> Answer<Self::StreamImagesStream> {
        let images = self.matching(request.into_inner().filter);
        let images = images.iter().map(|found| image::image(found)).collect();
        Ok(batches(images, |images| v1::StreamImagesResponse { images }))
    }

    async fn image_status(
        &self,
        request: Request<v1::ImageStatusRequest>,
    ) -> Answer<v1::ImageStatusResponse> {
        let request = request.into_inner();
        let found = self.app.images.find(&image::name(request.image)?);
        let info = match &found {
            Some(found) if request.verbose => BTreeMap::from([("info".to_owned(), image::verbose(found))]),
            _ => BTreeMap::new(),
        };
        // CRI: an unknown image is no error.
        Ok(Response::new(v1::ImageStatusResponse { image: found.map(|found| image::image(&found)), info }))
    }

    async fn pull_image(&self, request: Request<v1::PullImageRequest>) -> Answer<v1::PullImageResponse> {
        let request = request.into_inner();
        let pull = PullRequest {
            reference: image::name(request.image)?,
            credentials: image::credentials(request.auth)?,
            progress: None,
        };
        let reference = pull.reference.clone();
        let id = self.app.images.pull(pull).await.map_err(|error| named(status::of(error), &reference))?;
        // The same as ImageStatus gives: the kubelet's record of who may use the image hangs on it.
        Ok(Response::new(v1::PullImageResponse { image_ref: id.to_string() }))
    }

    async fn remove_image(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Answer<v1::RemoveImageResponse> {
        let name = image::name(request.into_inner().image)?;
        let in_use = |id: &_| self.app.pods.image_in_use(id);
        self.app.images.remove(&name, &in_use).await.map_err(status::of)?;
        Ok(Response::new(v1::RemoveImageResponse {}))
    }

    async fn image_fs_info(&self, _: Request<v1::ImageFsInfoRequest>) -> Answer<v1::ImageFsInfoResponse> {
        Ok(Response::new(v1::ImageFsInfoResponse {
            image_filesystems: vec![image::fs_usage(self.app.images.fs_usage())],
            container_filesystems: vec![image::fs_usage(self.app.images.container_fs_usage())],
        }))
    }
}

impl ImageStore {
    /// All images, or the one that the filter names.
    fn matching(&self, filter: Option<v1::ImageFilter>) -> Vec<Arc<Image>> {
        let name = filter.and_then(|filter| filter.image).map(|spec| spec.image).unwrap_or_default();
        if name.is_empty() {
            self.app.images.list()
        } else {
            self.app.images.find(&name).into_iter().collect()
        }
    }
}

/// A kubelet's event shows this message alone: it must say which image it is about.
fn named(refusal: Status, reference: &str) -> Status {
    // What is no name at all is quoted, as far as that makes sense, by who refused it.
    if refusal.code() == tonic::Code::InvalidArgument || refusal.message().contains(reference) {
        return refusal;
    }
    Status::new(refusal.code(), format!("pulling {reference}: {}", refusal.message()))
}
